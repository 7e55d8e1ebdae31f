"""Protects a gRPC server with access tokens of one issuer (RFC 9068). Uses PyJWT and the issuer's JWK Set."""

import collections
import contextvars
import functools
import json
import ssl
import urllib.request

import grpc
import jwt
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

#: The verified claims of the current call.
caller: contextvars.ContextVar[dict] = contextvars.ContextVar("caller")

#: Marks a method that needs no token, in place of a scope. No scope contains a space.
PUBLIC = "no token"


#: The allowed difference of the clocks of issuer and verifier.
CLOCK_SKEW_SECONDS = 5


class IssuerKeys:
    """The issuer's JWK Set, from the `jwks_uri` of its metadata.

    The first token fetches both. After a failure, the next token tries again."""

    def __init__(self, issuer: str, ca_file: str | None = None):
        self._issuer = issuer
        self._context = ssl.create_default_context(cafile=ca_file)
        self._keys: jwt.PyJWKClient | None = None

    def get_signing_key_from_jwt(self, token: str) -> jwt.PyJWK:
        """The same as in `jwt.PyJWKClient`."""
        if self._keys is None:
            self._keys = self._discover()
        return self._keys.get_signing_key_from_jwt(token)

    def _discover(self) -> jwt.PyJWKClient:
        url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            with urllib.request.urlopen(url, context=self._context, timeout=10) as answer:
                metadata = json.load(answer)
            named, jwks_uri = metadata["issuer"], metadata["jwks_uri"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise jwt.PyJWKClientConnectionError("the issuer's metadata cannot be fetched") from error
        if named != self._issuer:
            raise jwt.PyJWKClientConnectionError("the metadata are those of another issuer")
        return jwt.PyJWKClient(jwks_uri, ssl_context=self._context)


class TokenVerifier(grpc.ServerInterceptor):
    """Rejects every call without a valid token for `audience` that has the method's scope.

    `keys` finds the key of a token: `IssuerKeys`, or a `jwt.PyJWKClient`. `scopes` has the scope of each full method name.
    A method without an entry is rejected, and a PUBLIC one is open.
    """

    def __init__(self, issuer: str, audience: str, keys: IssuerKeys | jwt.PyJWKClient, scopes: dict[str, str]):
        self._issuer = issuer
        self._audience = audience
        self._keys = keys
        self._scopes = scopes

    @classmethod
    def of_jwks(
        cls, issuer: str, audience: str, scopes: dict[str, str], ca_file: str | None = None
    ) -> "TokenVerifier":
        """Returns a verifier with the issuer's key set, which is fetched again for an unknown key."""
        return cls(issuer, audience, IssuerKeys(issuer, ca_file), scopes)

    def verify(self, token: str) -> dict:
        """Returns the claims of a valid token. Raises jwt.PyJWTError otherwise.

        The library checks signature, issuer, audience and times. This function checks the rest of RFC 9068."""
        if str(jwt.get_unverified_header(token).get("typ")).lower() not in ("at+jwt", "application/at+jwt"):
            raise jwt.InvalidTokenError("not an access token")
        claims = jwt.decode(
            token,
            self._keys.get_signing_key_from_jwt(token),
            algorithms=["ES256"],
            audience=self._audience,
            issuer=self._issuer,
            leeway=CLOCK_SKEW_SECONDS,
            options={"require": ["exp", "iat", "iss", "aud", "sub", "jti", "client_id"]},
        )
        if not all(isinstance(claims[name], str) and claims[name] for name in ("sub", "jti", "client_id")):
            raise jwt.InvalidTokenError("a claim is not what it must be")
        if not isinstance(claims.get("scope", ""), str):
            raise jwt.InvalidTokenError("the scope is not one string")
        if "cnf" in claims:
            raise jwt.InvalidTokenError("the token is good only with proof of its key")
        return claims

    def intercept_service(self, continuation, call):
        handler = continuation(call)
        if handler is None:
            return None
        if self._scopes.get(call.method) == PUBLIC:
            return handler
        try:
            claims = self._authorize(call)
        except Refused as refused:
            return refusal(handler, refused)
        return serve_as(handler, claims)

    def _authorize(self, call) -> dict:
        if call.method not in self._scopes:
            raise Refused("METHOD_NOT_DECLARED", "the method declares no policy")
        headers = [value for key, value in call.invocation_metadata if key == "authorization"]
        if len(headers) != 1 or not headers[0].lower().startswith("bearer "):
            raise Refused("CREDENTIALS_MISSING", "one bearer token is needed")
        try:
            claims = self.verify(headers[0][len("bearer ") :])
        except jwt.PyJWKClientConnectionError:
            raise Refused("TRUST_UNAVAILABLE", "the issuer's keys are out of reach") from None
        except jwt.ExpiredSignatureError:
            raise Refused("TOKEN_EXPIRED", "the token has expired") from None
        except jwt.PyJWTError:
            raise Refused("TOKEN_INVALID", "the token is not good") from None
        scope = self._scopes[call.method]
        if scope not in claims.get("scope", "").split():
            raise Refused("SCOPE_INSUFFICIENT", f"the token lacks the scope {scope}", scope)
        return claims


class Refused(Exception):
    """A rejection, with its reason of m2m.token.v1 and a message. Programs and our client layer use the reason."""

    CODES = {
        "METHOD_NOT_DECLARED": grpc.StatusCode.PERMISSION_DENIED,
        "SCOPE_INSUFFICIENT": grpc.StatusCode.PERMISSION_DENIED,
        "TRUST_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    }

    def __init__(self, reason: str, words: str, scope: str | None = None):
        super().__init__(words)
        self._reason, self._words, self._scope = reason, words, scope

    def status(self) -> grpc.Status:
        """Ends the call, with google.rpc.ErrorInfo and the challenge of RFC 6750."""
        code = self.CODES.get(self._reason, grpc.StatusCode.UNAUTHENTICATED)
        info = error_details_pb2.ErrorInfo(reason=self._reason, domain="m2m.token.v1")
        challenge = 'Bearer error="invalid_token"'
        if self._scope:
            info.metadata["scope"] = self._scope
            challenge = f'Bearer error="insufficient_scope", scope="{self._scope}"'
        elif self._reason == "CREDENTIALS_MISSING":
            challenge = "Bearer"
        detail = any_pb2.Any()
        detail.Pack(info)
        status = status_pb2.Status(code=code.value[0], message=self._words, details=[detail])
        trailers = [("grpc-status-details-bin", status.SerializeToString())]
        if self._scope or code is grpc.StatusCode.UNAUTHENTICATED:
            trailers.append(("www-authenticate", challenge))
        return Answer(code, self._words, tuple(trailers))


class Answer(collections.namedtuple("Answer", ("code", "details", "trailing_metadata")), grpc.Status):
    """The argument of `abort_with_status`."""


def behaviour_of(handler: grpc.RpcMethodHandler):
    """Returns the function that a handler has, of four, and the constructor of such a handler."""
    for behaviour, make in (
        (handler.unary_unary, grpc.unary_unary_rpc_method_handler),
        (handler.unary_stream, grpc.unary_stream_rpc_method_handler),
        (handler.stream_unary, grpc.stream_unary_rpc_method_handler),
        (handler.stream_stream, grpc.stream_stream_rpc_method_handler),
    ):
        if behaviour:
            return behaviour, functools.partial(
                make,
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
    raise TypeError("a handler without a function")


def refusal(handler: grpc.RpcMethodHandler, refused: Refused) -> grpc.RpcMethodHandler:
    _, make = behaviour_of(handler)
    return make(lambda request, context: context.abort_with_status(refused.status()))


def serve_as(handler: grpc.RpcMethodHandler, claims: dict) -> grpc.RpcMethodHandler:
    behaviour, make = behaviour_of(handler)

    def serve(request, context):
        caller.set(claims)
        return behaviour(request, context)

    return make(serve)
