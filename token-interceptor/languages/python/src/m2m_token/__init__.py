"""Access tokens for gRPC clients and servers, driven by the `m2m.auth.v1` annotations of the called services.

A client: `ClientTokens`, with a source such as `ClientCredentials`. A server: `server`, with a trusted
issuer such as that of `discover`. `m2m_token.aio` has the same for `grpc.aio`.
"""

from pathlib import Path

from .client import ClientTokens
from .destinations import PlaintextRefused
from .errors import Denied, PolicyError
from .issuers import discover, jwks, watch
from .keys import KeySet
from .layer import current_caller
from .policy import Policy
from .revocations import Revocations
from .server import AuthorizationInterceptor, Server, server
from .source import IssuedToken, SourceError, TokenRequest, TokenSource
from .sources import (
    ClientCredentials,
    GrpcIssuer,
    HttpIssuer,
    PrivateKeyJwt,
    StaticToken,
    TokenExchange,
    TokenFile,
)
from .token import Actor, Caller
from .verify import TrustedIssuer, Verifier


def proto_folder() -> str:
    """Returns the folder with `m2m/auth/v1/annotations.proto`, for the include path of protoc."""
    return str(Path(__file__).parent / "proto")


__all__ = [
    "Actor",
    "AuthorizationInterceptor",
    "Caller",
    "ClientCredentials",
    "ClientTokens",
    "Denied",
    "GrpcIssuer",
    "HttpIssuer",
    "IssuedToken",
    "KeySet",
    "PlaintextRefused",
    "Policy",
    "PolicyError",
    "PrivateKeyJwt",
    "Revocations",
    "Server",
    "SourceError",
    "StaticToken",
    "TokenExchange",
    "TokenFile",
    "TokenRequest",
    "TokenSource",
    "TrustedIssuer",
    "Verifier",
    "current_caller",
    "discover",
    "jwks",
    "proto_folder",
    "server",
    "watch",
]
