"""The sources of access tokens.

| source | a token from |
|---|---|
| `ClientCredentials` | an OAuth server, by the client's own credentials, over gRPC or HTTP |
| `TokenExchange` | the same, on behalf of the caller whom the program serves (RFC 8693) |
| `TokenFile` | a file that another program renews |
| `StaticToken` | the program's configuration |
"""

import base64
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote_plus, urlencode, urlsplit

import grpc
import jwt
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

from m2m.token.v1 import token_service_pb2, token_service_pb2_grpc

from . import _encoding, strict_json, token_response
from .destinations import check_url
from .errors import ERROR_DOMAIN
from .http_client import HttpClient, metadata_urls
from .machine import LIFETIME_MAX, SECOND
from .source import LIFETIME_DEFAULT, Cause, IssuedToken, Refusal, SourceError, TokenRequest, own

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
# An attempt is given up a little earlier, so a dead connection is noticed by keepalive or not at all.
_GRPC_TIMEOUT = 31.0
# The age at which an issuer's metadata are read again, in seconds.
_METADATA_AGE_MAX = 3600.0
# The lifetime of a client assertion, in seconds.
_ASSERTION_LIFETIME = 60


class PrivateKeyJwt:
    """`private_key_jwt`: the client signs, the issuer has its public key. RFC 7523. Never printed."""

    def __init__(self, key: str | bytes, key_id: str, issuer: str, algorithm: str = "ES256"):
        """`key`: PEM. `issuer`: the only audience of the assertions."""
        self._key = key
        self._key_id = key_id
        self._issuer = issuer
        self._algorithm = algorithm

    def sign(self, client_id: str) -> str:
        """Returns a new assertion: each is valid for one use."""
        now = int(time.time())
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": self._issuer,
            "jti": secrets.token_urlsafe(16),
            "iat": now,
            "exp": now + _ASSERTION_LIFETIME,
        }
        headers = {"typ": "client-authentication+jwt", "kid": self._key_id}
        return jwt.encode(claims, self._key, self._algorithm, headers)


#: A client's credential: a secret, or a key.
Credential = str | PrivateKeyJwt


class GrpcIssuer:
    """An issuer of this project, over gRPC. It connects at first use."""

    def __init__(self, url: str, *, extra_roots: bytes | None = None, channel: grpc.Channel | None = None):
        """`url`: the issuer's. Plaintext is allowed to this machine only.

        `extra_roots`: the certificates, in PEM, that are trusted instead of gRPC's own. `channel`: one of the
        program's own, for whose safety it vouches.
        """
        if channel is None:
            channel = issuer_channel(url, extra_roots)
        make_stub: Any = token_service_pb2_grpc.TokenServiceStub
        self._stub = make_stub(channel)

    def issue(
        self, client_id: str, credential: Credential, request: TokenRequest, lifetime: float | None
    ) -> IssuedToken:
        """RFC 6749 section 4.4."""
        message = token_service_pb2.IssueTokenRequest(
            client=_client(client_id, credential),
            audiences=[] if request.audience is None else [request.audience],
            scopes=sorted(request.scopes),
        )
        if lifetime is not None:
            message.lifetime.FromNanoseconds(round(lifetime * SECOND))
        return _asked(self._stub.IssueToken, message)

    def exchange(
        self, client_id: str, credential: Credential, request: TokenRequest, subject: str
    ) -> IssuedToken:
        """RFC 8693."""
        message = token_service_pb2.ExchangeTokenRequest(
            client=_client(client_id, credential),
            subject=token_service_pb2.SecurityToken(value=subject, type=_ACCESS_TOKEN),
            audiences=[] if request.audience is None else [request.audience],
            scopes=sorted(request.scopes),
        )
        return _asked(self._stub.ExchangeToken, message)


def issuer_channel(url: str, extra_roots: bytes | None = None) -> grpc.Channel:
    """Returns a channel to an issuer's URL. Keepalive tells a dead connection from a slow issuer."""
    parts = check_url(url)
    options = [("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", 5_000)]
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    if parts.scheme == "http":
        return grpc.insecure_channel(f"{host}:{port}", options)
    return grpc.secure_channel(f"{host}:{port}", grpc.ssl_channel_credentials(extra_roots), options)


def _client(client_id: str, credential: Credential) -> token_service_pb2.ClientAuthentication:
    if isinstance(credential, str):
        return token_service_pb2.ClientAuthentication(client_id=client_id, client_secret=credential)
    assertion = token_service_pb2.ClientAssertion(type=_ASSERTION_TYPE, value=credential.sign(client_id))
    return token_service_pb2.ClientAuthentication(client_id=client_id, assertion=assertion)


def _asked(method: Any, message: Any) -> IssuedToken:
    try:
        answer = method(message, timeout=_GRPC_TIMEOUT)
    except grpc.RpcError as error:
        raise grpc_failure(error) from None
    token = answer.token
    if not answer.HasField("token") or token.token_type.lower() != "bearer":
        raise SourceError("the issuer's answer has no bearer token")
    expires_in = _duration(token.expires_in) if token.HasField("expires_in") else LIFETIME_DEFAULT
    refresh_after = _duration(token.refresh_after) if token.HasField("refresh_after") else None
    try:
        return IssuedToken(token.value, expires_in, refresh_after)
    except ValueError:
        raise SourceError("the issuer's token is malformed") from None


def _duration(value: duration_pb2.Duration) -> int:
    return min(max(value.seconds * SECOND + value.nanos, 0), LIFETIME_MAX)


_REFUSAL_OF_REASON: dict[str, Refusal] = {
    "CLIENT_AUTHENTICATION_FAILED": "client_authentication",
    "CREDENTIALS_MISSING": "client_authentication",
    "CLIENT_NOT_AUTHORIZED": "client_not_authorized",
    "CALLER_NOT_ALLOWED": "client_not_authorized",
    "INVALID_SCOPE": "scope",
    "SCOPE_INSUFFICIENT": "scope",
    "INVALID_TARGET": "target",
    "INVALID_GRANT": "grant",
    "INVALID_REQUEST": "request",
    "TOKEN_TOO_LARGE": "request",
    "UNSUPPORTED_GRANT_TYPE": "request",
}
# For an issuer, or a proxy in front of it, that gives no reason.
_REFUSAL_OF_CODE: dict[grpc.StatusCode, Refusal] = {
    grpc.StatusCode.UNAUTHENTICATED: "client_authentication",
    grpc.StatusCode.PERMISSION_DENIED: "client_not_authorized",
    grpc.StatusCode.INVALID_ARGUMENT: "request",
}
# gRPC tells the cause of a failed connection only in words.
_CAUSE_OF_WORDS: tuple[tuple[str, Cause], ...] = (
    ("CERTIFICATE_VERIFY_FAILED", "untrusted_ca"),
    ("Hostname Verification Check failed", "certificate_invalid"),
    ("DNS resolution failed", "name_not_resolved"),
    ("Connection refused", "connection_refused"),
    ("No route to host", "unreachable"),
    ("Network is unreachable", "unreachable"),
)


def grpc_failure(error: grpc.RpcError) -> SourceError:
    """Converts the issuer's status. Its message is dropped: it is meant for the issuer's log."""
    code: grpc.StatusCode = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    reason, domain, retry_after = error_details(error.trailing_metadata())
    if domain == ERROR_DOMAIN and reason:
        refusal = _REFUSAL_OF_REASON.get(reason)
        message = f"the issuer answered {code.name}: {reason}"
        return SourceError(message, refusal=refusal, retry_after=retry_after)
    cause: Cause = "timed_out" if code is grpc.StatusCode.DEADLINE_EXCEEDED else "answer"
    if code is grpc.StatusCode.UNAVAILABLE:
        words = f"{error.details()} {getattr(error, 'debug_error_string', str)()}"
        cause = next((cause for text, cause in _CAUSE_OF_WORDS if text in words), "connection_lost")
    return SourceError(
        f"the issuer could not be asked: {code.name} ({cause})",
        refusal=_REFUSAL_OF_CODE.get(code),
        cause=cause,
        retry_after=retry_after,
    )


def error_details(metadata: Any) -> tuple[str, str, int | None]:
    """Returns the reason and the domain of `ErrorInfo`, and the delay of `RetryInfo` in nanoseconds."""
    reason, domain, retry_after = "", "", None
    encoded = next((value for key, value in metadata or () if key == "grpc-status-details-bin"), None)
    if encoded is None:
        return reason, domain, retry_after
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    try:
        for detail in status_pb2.Status.FromString(encoded).details:
            if detail.Unpack(info):
                reason, domain = info.reason, info.domain
            elif detail.Unpack(retry):
                retry_after = _duration(retry.retry_delay)
    except Exception:
        # Not decodable: another program wrote it.
        return "", "", None
    return reason, domain, retry_after


class HttpIssuer:
    """Any OAuth server with a token endpoint. RFC 6749, RFC 8414."""

    def __init__(
        self,
        issuer: str | None = None,
        *,
        token_endpoint: str | None = None,
        audience_parameter: Literal["audience", "resource", None] = "audience",
        secret_in: Literal["header", "form", None] = None,
        extra_roots: bytes | None = None,
        http: HttpClient | None = None,
    ):
        """Takes the issuer identifier, whose metadata name the endpoint, or the endpoint's own URL.

        `audience_parameter`: None where the server derives the audience from the scopes. `secret_in`: None
        for the place that the metadata name, or else the header.
        """
        if (issuer is None) == (token_endpoint is None):
            raise ValueError("an issuer or its token endpoint is needed, and not both")
        check_url(issuer or token_endpoint or "")
        self._issuer = issuer
        self._token_endpoint = token_endpoint
        self._audience_parameter = audience_parameter
        self._secret_in = secret_in
        self._http = http or HttpClient(extra_roots=extra_roots)
        self._lock = threading.Lock()
        # The endpoint, the place of a secret, and the time they were read.
        self._discovered: tuple[str, str, float] | None = None

    def issue(
        self, client_id: str, credential: Credential, request: TokenRequest, lifetime: float | None
    ) -> IssuedToken:
        """RFC 6749 section 4.4.2. The lifetime is the server's."""
        return self._ask(client_id, credential, request, {"grant_type": "client_credentials"})

    def exchange(
        self, client_id: str, credential: Credential, request: TokenRequest, subject: str
    ) -> IssuedToken:
        """RFC 8693 section 2.1."""
        form = {"grant_type": _EXCHANGE, "subject_token": subject, "subject_token_type": _ACCESS_TOKEN}
        return self._ask(client_id, credential, request, form)

    def _ask(
        self, client_id: str, credential: Credential, request: TokenRequest, form: dict[str, str]
    ) -> IssuedToken:
        endpoint, offered = self._endpoint()
        if request.audience is not None and self._audience_parameter:
            form[self._audience_parameter] = request.audience
        if request.scopes:
            form["scope"] = request.scope_parameter
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        if isinstance(credential, PrivateKeyJwt):
            form |= {"client_id": client_id, "client_assertion_type": _ASSERTION_TYPE}
            form["client_assertion"] = credential.sign(client_id)
        elif (self._secret_in or offered) == "form":
            form |= {"client_id": client_id, "client_secret": credential}
        else:
            # RFC 6749 section 2.3.1: both halves are form-encoded, so that a colon moves no border.
            pair = f"{quote_plus(client_id)}:{quote_plus(credential)}"
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        is_there = False
        try:
            response = self._http.post(endpoint, urlencode(form).encode(), headers)
            is_there = token_response.is_of_token_endpoint(response)
            return token_response.read(response, time.time())
        except SourceError as error:
            is_there = is_there and not error.is_transient
            raise
        finally:
            if not is_there:
                # The endpoint may have moved, so the next request reads the metadata again.
                self._discovered = None

    def _endpoint(self) -> tuple[str, str]:
        if self._token_endpoint is not None:
            return self._token_endpoint, "header"
        with self._lock:
            known = self._discovered
            if known is None or time.monotonic() - known[2] >= _METADATA_AGE_MAX:
                try:
                    known = (*self._discover(), time.monotonic())
                except SourceError:
                    # The old endpoint may still be there.
                    if known is None:
                        raise
                self._discovered = known
            return known[0], known[1]

    def _discover(self) -> tuple[str, str]:
        assert self._issuer is not None
        openid, oauth = metadata_urls(urlsplit(self._issuer))
        failure = SourceError("no metadata")
        for url in (oauth, openid):
            try:
                response = self._http.get(url)
                if response.status != 200:
                    raise SourceError(f"the metadata are answered with {response.status}")
                return self._read_metadata(response.body)
            except SourceError as error:
                failure = error
        raise failure

    def _read_metadata(self, body: bytes) -> tuple[str, str]:
        try:
            members = strict_json.parse_object(body)
        except strict_json.NotStrict:
            raise SourceError("the metadata are not a JSON object") from None
        # RFC 8414 section 3.3: another issuer's metadata would send this client's credentials elsewhere.
        if members.get("issuer") != self._issuer:
            raise SourceError("the metadata are those of another issuer")
        endpoint = members.get("token_endpoint")
        usable = isinstance(endpoint, str) and (
            endpoint.startswith("https:") or str(self._issuer).startswith("http:")
        )
        if not usable:
            raise SourceError("the metadata name no usable token endpoint")
        offered = members.get("token_endpoint_auth_methods_supported")
        methods = offered if isinstance(offered, list) else []
        form_only = "client_secret_post" in methods and "client_secret_basic" not in methods
        return str(endpoint), "form" if form_only else "header"


#: An issuer of tokens.
Issuer = GrpcIssuer | HttpIssuer


class ClientCredentials:
    """The client credentials grant: the client's own token, by its own credentials. RFC 6749 section 4.4."""

    def __init__(
        self, client_id: str, credential: Credential, issuer: Issuer, *, lifetime: float | None = None
    ):
        """`lifetime`: in seconds. An issuer of this project caps it; other issuers ignore it."""
        self._client_id = client_id
        self._credential = credential
        self._issuer = issuer
        self._lifetime = lifetime

    def fetch(self, request: TokenRequest) -> IssuedToken:
        """Obtains one token. Raises SourceError."""
        own(request)
        return self._issuer.issue(self._client_id, self._credential, request, self._lifetime)

    def __repr__(self) -> str:
        return f"ClientCredentials({self._client_id!r})"


class TokenExchange:
    """Token exchange: the caller stays the subject, this client becomes the actor, and rights only narrow."""

    def __init__(self, client_id: str, credential: Credential, issuer: Issuer):
        self._client_id = client_id
        self._credential = credential
        self._issuer = issuer

    def fetch(self, request: TokenRequest) -> IssuedToken:
        """Exchanges the request's subject token. Raises SourceError."""
        if request.subject is None:
            raise SourceError("there is no token to exchange", refusal="request")
        return self._issuer.exchange(self._client_id, self._credential, request, request.subject)

    def __repr__(self) -> str:
        return f"TokenExchange({self._client_id!r})"


class TokenFile:
    """A file that another program renews: a Kubernetes projected token, a file of `token-server agent`.

    It follows gRFC A97. The file is read at first use, again one minute before its token ends (30 s before
    `exp`), and again when a server refuses the token. The program that writes the file chooses audience and
    scopes.
    """

    # The time before `exp` at which the token counts as expired, the time before that at which the file is
    # read again, and the least time that a token must have left; in seconds.
    _EARLY, _REREAD, _REST_MIN = 30, 60, 2
    _FILE_BYTES_MAX = 64 * 1024

    def __init__(self, path: str | Path, *, clock: Callable[[], float] = time.time):
        self._path = Path(path)
        self._clock = clock

    def fetch(self, request: TokenRequest) -> IssuedToken:
        """Reads the file. Raises SourceError."""
        own(request)
        try:
            with self._path.open("rb") as file:
                text = file.read(self._FILE_BYTES_MAX).decode("ascii").strip()
        except OSError as error:
            raise SourceError(f"the token file cannot be read: {error.strerror}") from None
        except ValueError:
            raise SourceError("the token file holds no token", refusal="token") from None
        expires_at = _expiry(text)
        if expires_at is None:
            raise SourceError("the token in the file is not a JWT with an exp", refusal="token")
        rest = expires_at - self._clock() - self._EARLY
        if rest < self._REST_MIN:
            raise SourceError("the token in the file has expired")
        expires_in = min(round(rest * SECOND), LIFETIME_MAX)
        refresh_after = expires_in - self._REREAD * SECOND
        try:
            return IssuedToken(text, expires_in, refresh_after if refresh_after > 0 else None)
        except ValueError:
            raise SourceError("the token file holds no token", refusal="token") from None


def _expiry(token: str) -> float | None:
    """Returns `exp`, unverified (RFC 7519 section 4.1.4)."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        expiry = strict_json.parse_object(_encoding.decode(parts[1])).get("exp")
    except ValueError:
        return None
    if isinstance(expiry, bool) or not isinstance(expiry, (int, float)) or expiry < 0:
        return None
    return float(expiry)


class StaticToken:
    """A token from the program's configuration, for any audience and scopes."""

    def __init__(self, token: str, expires_in: float = 3600.0):
        """`expires_in`: the seconds after which the same token is taken again."""
        self._issued = IssuedToken(token, round(expires_in * SECOND))

    def fetch(self, request: TokenRequest) -> IssuedToken:
        """Returns the token. Raises SourceError for a request on behalf of a caller."""
        own(request)
        return self._issued
