"""Claims and their types: RFC 9068 section 2.2, RFC 7519 section 4.1, RFC 8693 section 4.1.

RFC 9068 requires `iss sub client_id aud exp iat jti`. Times are whole, non-negative numbers, as two parsers
may round a fraction differently. For foreign issuers only the rules of RFC 7519 apply: times may have a
fraction, `iat` may be missing, and `scope` may be a list.
"""

import math
from typing import Any

from .errors import Denied
from .token import Actor, Caller

#: The last second of the year 9999. Later times overflow in arithmetic.
NUMERIC_DATE_MAX = 253_402_300_799


def check(claims: dict[str, Any], foreign: bool) -> Caller:
    """Checks every claim that has a meaning. Raises Denied."""
    for name in ("sub", "client_id", "jti"):
        text(claims, name)
    audience = claims.get("aud")
    if isinstance(audience, str) and audience:
        audiences: tuple[str, ...] = (audience,)
    elif isinstance(audience, list) and audience and all(isinstance(one, str) for one in audience):
        audiences = tuple(audience)
    else:
        raise Denied("malformed", "aud is neither a string nor strings")
    if not foreign and "scope" in claims and not isinstance(claims["scope"], str):
        raise Denied("malformed", "scope is not a string")
    # RFC 8705 section 3, RFC 9449 section 7.1. Accepting it as a bearer token would defeat the binding.
    if "cnf" in claims:
        raise Denied("sender_constrained", "cnf")
    expires_at = _time(claims, "exp", foreign, math.floor)
    if expires_at is None:
        raise Denied("malformed", "it has no exp")
    not_before = _time(claims, "nbf", foreign, math.ceil)
    return Caller(
        issuer=claims["iss"],
        subject=claims["sub"],
        client_id=claims["client_id"],
        token_id=claims["jti"],
        audiences=audiences,
        scopes=_scopes(claims.get("scope")),
        expires_at=expires_at,
        issued_at=_issued_at(claims, foreign),
        not_before=not_before,
        actors=_actors(claims, foreign),
        claims=claims,
        client_id_is_unique=True,
    )


def text(claims: dict[str, Any], name: str) -> str:
    """Returns a required claim, as text that is not empty. Raises Denied."""
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise Denied("malformed", f"{name}: missing or not text")
    return value


def _issued_at(claims: dict[str, Any], foreign: bool) -> int:
    try:
        issued_at = _time(claims, "iat", foreign, math.floor)
    except Denied:
        if not foreign:
            raise
        issued_at = None
    if issued_at is None and not foreign:
        raise Denied("malformed", "it has no iat")
    # A token without one counts as older than any limit on its age.
    return issued_at or 0


def _time(claims: dict[str, Any], name: str, foreign: bool, rounded: Any) -> int | None:
    if name not in claims:
        return None
    value = claims[name]
    # `bool` is a subclass of `int`.
    whole = value if type(value) is int else rounded(value) if foreign and type(value) is float else None
    if whole is None or not 0 <= whole <= NUMERIC_DATE_MAX:
        raise Denied("malformed", f"{name}: not a whole number of seconds since 1970")
    return int(whole)


def _scopes(scope: Any) -> tuple[str, ...]:
    # Another type grants nothing. Only a foreign issuer may write one.
    texts = [scope] if isinstance(scope, str) else scope if isinstance(scope, list) else []
    return tuple(one for text in texts if isinstance(text, str) for one in text.split(" ") if one)


def _actors(claims: dict[str, Any], foreign: bool) -> tuple[Actor, ...]:
    if "act" not in claims or (foreign and not isinstance(claims["act"], dict)):
        return ()
    actors = []
    members: dict[str, Any] = claims
    while "act" in members:
        members = members["act"]
        if not isinstance(members, dict):
            raise Denied("malformed", "act is not an object")
        optional = {name: members.get(name) for name in ("client_id", "iss")}
        if any(name in members and not isinstance(value, str) for name, value in optional.items()):
            raise Denied("malformed", "a member of act is not text")
        actors.append(Actor(text(members, "sub"), optional["client_id"], optional["iss"]))
    return tuple(actors)
