"""The answers to refused calls: code, details, challenge and mark."""

from dataclasses import dataclass, field
from typing import Final

from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from .errors import ERROR_DOMAIN, Denied

#: The trailer by which a server layer marks its own refusals. A layer removes it from the handlers' answers.
MARK: Final = "token-refused"
#: The stage of a refusal before the handler, which never ran.
BEFORE_HANDLER: Final = "before-handler"
#: The stage of a refusal after the handler began.
AFTER_HANDLER: Final = "after-handler"

UNKNOWN = 2
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
ALREADY_EXISTS = 6
PERMISSION_DENIED = 7
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
ABORTED = 10
INTERNAL = 13
UNAVAILABLE = 14
UNAUTHENTICATED = 16

#: The gRPC code and the OAuth error (RFC 6750, RFC 6749) of each reason.
ROWS: dict[str, tuple[int, str]] = {
    "CREDENTIALS_MISSING": (UNAUTHENTICATED, "invalid_request"),
    "TOKEN_INVALID": (UNAUTHENTICATED, "invalid_token"),
    "TOKEN_EXPIRED": (UNAUTHENTICATED, "invalid_token"),
    "TOKEN_REVOKED": (UNAUTHENTICATED, "invalid_token"),
    "TOKEN_KEY_UNKNOWN": (UNAUTHENTICATED, "invalid_token"),
    "TOKEN_AUDIENCE_MISMATCH": (UNAUTHENTICATED, "invalid_token"),
    "CLIENT_AUTHENTICATION_FAILED": (UNAUTHENTICATED, "invalid_client"),
    "SCOPE_INSUFFICIENT": (PERMISSION_DENIED, "insufficient_scope"),
    "CALLER_NOT_ALLOWED": (PERMISSION_DENIED, "access_denied"),
    "TOKEN_TOO_OLD": (PERMISSION_DENIED, "access_denied"),
    "METHOD_NOT_DECLARED": (PERMISSION_DENIED, "access_denied"),
    "CLIENT_NOT_AUTHORIZED": (PERMISSION_DENIED, "unauthorized_client"),
    "INVALID_GRANT": (INVALID_ARGUMENT, "invalid_request"),
    "PRECONDITION_FAILED": (FAILED_PRECONDITION, "invalid_request"),
    "TRUST_UNAVAILABLE": (UNAVAILABLE, "temporarily_unavailable"),
    "ISSUER_UNAVAILABLE": (UNAVAILABLE, "temporarily_unavailable"),
    "INTERNAL": (INTERNAL, "server_error"),
}


@dataclass(frozen=True)
class Answer:
    """A refusal, before it takes the form of a protocol."""

    reason: str
    sentence: str
    #: `ErrorInfo.metadata`.
    metadata: dict[str, str] = field(default_factory=dict)
    #: Seconds to wait before a retry.
    retry_after: float | None = None
    #: Details for the program itself, appended to the sentence. Only the client side sets it.
    about: str = ""

    @classmethod
    def of(cls, denied: Denied) -> "Answer":
        """Returns the answer to a refused caller."""
        metadata = {"scope": " ".join(denied.scopes)} if denied.scopes else {}
        return cls(denied.reason, denied.sentence, metadata, denied.retry_after)

    @property
    def code(self) -> int:
        """The gRPC status code."""
        return ROWS[self.reason][0]

    @property
    def message(self) -> str:
        """The status message."""
        return f"{self.sentence}: {self.about}" if self.about else self.sentence

    @property
    def challenge(self) -> str:
        """The `www-authenticate` metadata of RFC 6750 section 3; empty where another token does not help."""
        error = ROWS[self.reason][1]
        if self.reason == "CREDENTIALS_MISSING":
            return "Bearer"
        if error == "invalid_token":
            return f'Bearer error="{error}", error_description="{self.sentence}"'
        if error == "insufficient_scope":
            return f'Bearer error="{error}", scope="{self.metadata.get("scope", "")}"'
        return ""

    def status_bytes(self) -> bytes:
        """Returns the `google.rpc.Status` of the `grpc-status-details-bin` trailer."""
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain=ERROR_DOMAIN, metadata=self.metadata)
        status = status_pb2.Status(code=self.code, message=self.message, details=[_packed(info)])
        if self.retry_after is not None:
            nanos = round(self.retry_after * 1e9)
            delay = duration_pb2.Duration(seconds=nanos // 1_000_000_000, nanos=nanos % 1_000_000_000)
            status.details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
        encoded: bytes = status.SerializeToString()
        return encoded

    def trailers(self) -> list[tuple[str, str | bytes]]:
        """Returns the trailing metadata of the answer."""
        trailers: list[tuple[str, str | bytes]] = [("grpc-status-details-bin", self.status_bytes())]
        if self.challenge:
            trailers.append(("www-authenticate", self.challenge))
        return trailers


def mark(denied: Denied, stage: str, path: str) -> list[tuple[str, str | bytes]]:
    """Returns the mark of the layer's own refusal, if a new token may cure it."""
    if not denied.is_renewable or not path.isascii() or not path.isprintable():
        return []
    return [(MARK, f"{stage} {path}")]


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
