"""The answer of a token endpoint: RFC 6749 sections 5.1 and 5.2.

Strict about the token, lenient about advisory members.
"""

import email.utils
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import strict_json
from .machine import LIFETIME_MAX, SECOND
from .source import LIFETIME_DEFAULT, IssuedToken, SourceError, refusal_of_code

# RFC 6749 sections 4.1.2.1 and 5.2, RFC 8693 section 2.2.2, RFC 8707 section 2.
_OAUTH_CODES = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_target",
        "access_denied",
        "temporarily_unavailable",
        "server_error",
        "slow_down",
    }
)
_TRANSIENT_CODES = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
# Statuses of a URL that the token endpoint has left.
_GONE = frozenset({404, 405, 410})
# The longest text that is kept of an error, in characters.
_DESCRIPTION_MAX = 200
_NUMBER = re.compile(r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\Z")


@dataclass(frozen=True)
class HttpResponse:
    """An HTTP response. The names of headers are in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


class _Raw(str):
    """A number as it is written."""


def read(response: HttpResponse, now: float) -> IssuedToken:
    """Reads the answer: a token, or SourceError. `now` is the wall clock in seconds."""
    if response.status == 200:
        return _token(response.body)
    refusal, message = _refusal(response)
    raise SourceError(
        message or f"the token endpoint answered {response.status}",
        refusal=refusal_of_code(refusal) if refusal else None,
        retry_after=_retry_after(response.headers, now),
    )


def is_of_token_endpoint(response: HttpResponse) -> bool:
    """Returns True if the answer must be a token endpoint's: a token, or an OAuth error code."""
    if 200 <= response.status < 300:
        try:
            return "access_token" in _members(response.body)
        except SourceError:
            return False
    return response.status not in _GONE and _error_code(response.body) in _OAUTH_CODES


def _token(body: bytes) -> IssuedToken:
    members = _members(body)
    value, kind = members.get("access_token"), members.get("token_type")
    if value is None:
        raise SourceError("the token endpoint's answer has no access_token")
    if kind is None:
        raise SourceError("the token endpoint's answer has no token_type")
    if kind.lower() != "bearer" or not kind.isascii():
        raise SourceError("the token endpoint's token is not a bearer token")
    lifetime = members.get("expires_in")
    try:
        return IssuedToken(
            value, LIFETIME_DEFAULT if lifetime is None else lifetime, members.get("refresh_in")
        )
    except ValueError:
        raise SourceError("the token endpoint's access_token is malformed") from None


def _members(body: bytes) -> dict[str, Any]:
    """Returns the members that are read. Others may have any form, and may repeat."""
    malformed = SourceError("the token endpoint's answer is not a JSON object with one token")
    try:
        # Only the outermost object keeps its pairs: inner ones are read first, and dropped.
        pairs = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_Pairs,
            parse_int=_Raw,
            parse_float=_Raw,
            parse_constant=_constant,
        )
    except (ValueError, RecursionError):
        raise malformed from None
    if not isinstance(pairs, _Pairs):
        raise malformed
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in ("access_token", "token_type"):
            # Two tokens would be ambiguous.
            if name in members or not isinstance(value, str) or isinstance(value, _Raw):
                raise malformed
            members[name] = value
        elif name in ("expires_in", "refresh_in"):
            seconds = _seconds(value)
            if seconds is not None:
                members[name] = min(members.get(name, seconds), seconds)
    return members


class _Pairs(list[tuple[str, Any]]):
    """The members of an object, as they were written."""


def _constant(_: str) -> None:
    raise ValueError("not JSON")


def _seconds(value: Any) -> int | None:
    """Parses a number of seconds in any form that servers send, rounded down; in nanoseconds.

    None for any other value.
    """
    if not isinstance(value, str):
        return None
    text = value.strip()
    if not _NUMBER.match(text):
        return None
    seconds = float(text)
    return LIFETIME_MAX if seconds >= LIFETIME_MAX / SECOND else int(seconds) * SECOND


def _refusal(response: HttpResponse) -> tuple[str, str]:
    """Returns the OAuth error code of a refusal and a text for the log; empty for an outage.

    Overload is no refusal, even if the body says so. Nor is a missing endpoint, unless its body has an
    OAuth error code.
    """
    status = response.status
    if not 400 <= status < 500 or status in (408, 429):
        return "", ""
    code = _error_code(response.body)
    if not code or code in _TRANSIENT_CODES or (status in _GONE and code not in _OAUTH_CODES):
        return "", ""
    description = strict_json.parse_object(response.body).get("error_description")
    text = description if isinstance(description, str) else ""
    return code, f"{_printable(code)}: {_printable(text)}"


def _error_code(body: bytes) -> str:
    try:
        code = strict_json.parse_object(body).get("error")
    except strict_json.NotStrict:
        return ""
    return code if isinstance(code, str) else ""


def _printable(text: str) -> str:
    # The characters that RFC 6749 section 5.2 allows in an error, so that the text cannot forge log lines.
    return "".join(c for c in text if " " <= c <= "~" and c not in '"\\')[:_DESCRIPTION_MAX]


def _retry_after(headers: Mapping[str, str], now: float) -> int | None:
    """RFC 9110 section 10.2.3: seconds, or a date by the server's own clock; in nanoseconds."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(int(value[:20]) * SECOND, LIFETIME_MAX)
    at = _date(value)
    served_at = _date(headers.get("date", ""))
    if at is None:
        return None
    pause = at - (now if served_at is None else served_at)
    return min(round(pause * SECOND), LIFETIME_MAX) if pause >= 0 else None


def _date(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
