"""A verified token: signature, issuer, audience, times and revocation were checked. RFC 9068 section 2.2."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: The private claim that lists the tokens that a token was derived from: `[jti, client_id, iat]`, nearest
#: first.
ANCESTORS_CLAIM = "m2m_ancestors"


@dataclass(frozen=True)
class Actor:
    """One hop of a delegation: a party that acts for the subject. RFC 8693 section 4.1."""

    subject: str
    client_id: str | None = None
    issuer: str | None = None


@dataclass(frozen=True, repr=False)
class Caller:
    """The verified identity and rights of a caller. Only a verifier makes one."""

    issuer: str
    subject: str
    client_id: str
    token_id: str
    audiences: tuple[str, ...]
    scopes: tuple[str, ...]
    #: Seconds since 1970, as `issued_at`.
    expires_at: int
    issued_at: int
    not_before: int | None
    #: The current actor first; empty without delegation. Only the first may decide about access.
    actors: tuple[Actor, ...]
    #: Every claim of the token.
    claims: Mapping[str, Any]
    #: True if `client_id` alone identifies the caller among the trusted issuers.
    client_id_is_unique: bool
    #: The presented token, a secret. Use it only to exchange it for a token of the next service (RFC 8693).
    bearer: str = field(default="", repr=False)

    def has_scope(self, scope: str) -> bool:
        """Returns True if the scope was granted."""
        return scope in self.scopes

    def ancestors(self) -> list[tuple[str, str, int]]:
        """Returns `jti`, `client_id` and `iat` of the tokens that this one was derived from."""
        entries = self.claims.get(ANCESTORS_CLAIM)
        found = []
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, list) and [type(part) for part in entry] == [str, str, int]:
                found.append((entry[0], entry[1], entry[2]))
        return found

    def __repr__(self) -> str:
        # Names only: claims may be personal, and the token is a secret.
        return f"Caller(issuer={self.issuer!r}, client_id={self.client_id!r}, token_id={self.token_id!r})"
