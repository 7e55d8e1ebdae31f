"""Token requests, issued tokens, and the errors of a source."""

import re
from dataclasses import dataclass, field
from typing import Literal, Protocol

from .machine import SECOND

#: The assumed lifetime of a token whose issuer states none, in nanoseconds.
LIFETIME_DEFAULT = 60 * SECOND

# RFC 6750 section 2.1: b64token.
_B64TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*\Z")


@dataclass(frozen=True)
class TokenRequest:
    """A request for a token. Equal requests share one token."""

    #: The resource server that the token is for (RFC 8707); None for the issuer's default.
    audience: str | None = None
    #: None in it: the issuer's default.
    scopes: frozenset[str] = frozenset()
    #: The token is replaced before it is older than this, in nanoseconds.
    max_age: int | None = None
    #: The token to exchange (RFC 8693), a secret; None for the client's own token.
    subject: str | None = field(default=None, repr=False)

    @property
    def scope_parameter(self) -> str:
        """The scopes in the form of RFC 6749 section 3.3, sorted."""
        return " ".join(sorted(self.scopes))

    def union(self, other: "TokenRequest") -> "TokenRequest":
        """Returns the union of both requests, for the audience of this one."""
        ages = [age for age in (self.max_age, other.max_age) if age is not None]
        return TokenRequest(self.audience, self.scopes | other.scopes, min(ages, default=None), self.subject)

    def __str__(self) -> str:
        audience = "the default audience" if self.audience is None else f'audience "{self.audience}"'
        scopes = f'scopes "{self.scope_parameter}"' if self.scopes else "default scopes"
        return f"{audience}, {scopes}{', on behalf of a caller' if self.subject else ''}"


@dataclass(frozen=True)
class IssuedToken:
    """A token from its source. Times are nanoseconds, counted from the request."""

    value: str = field(repr=False)
    expires_in: int = LIFETIME_DEFAULT
    refresh_after: int | None = None

    def __post_init__(self) -> None:
        # Other characters could be cut, or smuggle in a second header. The error does not quote the text.
        if not _B64TOKEN.match(self.value):
            raise ValueError(
                "not an access token: RFC 6750 allows letters, digits and -._~+/ with = at the end"
            )


#: RFC 6749 section 5.2, RFC 8707 section 2. "token": the configured token is not a valid token.
Refusal = Literal[
    "client_authentication", "client_not_authorized", "scope", "target", "grant", "token", "request"
]

#: The class of a failure: the first thing for an operator to check.
Cause = Literal[
    "untrusted_ca",
    "certificate_invalid",
    "name_not_resolved",
    "connection_refused",
    "unreachable",
    "connection_lost",
    "timed_out",
    "plaintext_refused",
    "expired_on_arrival",
    "answer",
]

CAUSE_SENTENCES: dict[Cause, str] = {
    "untrusted_ca": "the issuer's certificate comes from a CA that is not trusted here (untrusted_ca)",
    "certificate_invalid": "the issuer's certificate is not valid for it (certificate_invalid)",
    "name_not_resolved": "the issuer's name does not resolve (name_not_resolved)",
    "connection_refused": "nothing listens at the issuer's address (connection_refused)",
    "unreachable": "no route leads to the issuer (unreachable)",
    "connection_lost": "the connection to the issuer broke off (connection_lost)",
    "timed_out": "the issuer did not answer in time (timed_out)",
    "plaintext_refused": "the issuer's URL is plaintext to another machine (plaintext_refused)",
    "expired_on_arrival": "the token had expired when it arrived (expired_on_arrival)",
    "answer": "the issuer answered, and not with a token (answer)",
}

_REFUSALS: dict[str, Refusal] = {
    "invalid_client": "client_authentication",
    "unauthorized_client": "client_not_authorized",
    "access_denied": "client_not_authorized",
    "invalid_scope": "scope",
    "invalid_target": "target",
    "invalid_grant": "grant",
}


def refusal_of_code(code: str) -> Refusal:
    """Returns the refusal of an OAuth error code."""
    return _REFUSALS.get(code, "request")


class SourceError(Exception):
    """The error of a token source.

    Without a refusal it passes by itself, and the source is asked again in the background. A refusal lasts
    until an operator changes something.
    """

    def __init__(
        self,
        message: str,
        *,
        refusal: Refusal | None = None,
        cause: Cause = "answer",
        retry_after: int | None = None,
    ):
        super().__init__(message)
        self.refusal = refusal
        self.cause: Cause = cause
        #: The pause that the source demands, in nanoseconds.
        self.retry_after = retry_after

    @property
    def is_transient(self) -> bool:
        """True if it may pass by itself."""
        return self.refusal is None


class TokenSource(Protocol):
    """Obtains access tokens. Renewal, sharing and pauses are not its task."""

    def fetch(self, request: TokenRequest) -> IssuedToken:
        """Obtains one token, and may block. Raises SourceError."""


def own(request: TokenRequest) -> None:
    """Rejects requests on behalf of a caller, for sources that cannot exchange tokens.

    Their own token would give a caller this program's rights.
    """
    if request.subject is not None:
        raise SourceError("this source exchanges no tokens", refusal="request")
