"""What the tests against a real issuer share; `run` sets the environment."""

import os

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

import inventory_pb2_grpc
from m2m_token import ClientCredentials, ClientTokens, GrpcIssuer

ISSUER = os.environ["TOKEN_ISSUER"]
CA_FILE = os.environ["TOKEN_CA_FILE"]
CLIENT_ID = os.environ["TOKEN_CLIENT_ID"]
CLIENT_SECRET = os.environ["TOKEN_CLIENT_SECRET"]
INVENTORY = os.environ["INVENTORY"]
AUDIENCE = "inventory"


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def tokens(secret: str = CLIENT_SECRET) -> ClientTokens:
    issuer = GrpcIssuer(ISSUER, extra_roots=read(CA_FILE))
    return ClientTokens(ClientCredentials(CLIENT_ID, secret, issuer))


def inventory(target: str, client_tokens: ClientTokens | None = None):
    credentials = grpc.ssl_channel_credentials(read(CA_FILE))
    secure = client_tokens.secure_channel if client_tokens else grpc.secure_channel
    return inventory_pb2_grpc.InventoryServiceStub(secure(target, credentials))


def details(error: grpc.RpcError):
    """ErrorInfo and RetryInfo of a failed call."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        detail.Unpack(info) or detail.Unpack(retry)
    return info, retry


def challenge(error: grpc.RpcError) -> str:
    return dict(error.trailing_metadata()).get("www-authenticate", "")
