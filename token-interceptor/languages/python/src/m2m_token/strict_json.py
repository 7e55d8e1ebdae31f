"""Strict JSON for tokens and key sets: RFC 7515 section 4.

No member occurs twice, the depth is bounded, and no text follows.

`json` keeps the last of two equal members. Where two parsers disagree on which one counts, a token says one
thing to a gateway and another to the service behind it.
"""

import json
import math
from typing import Any

#: The nesting depth of objects and arrays, at most.
DEPTH_MAX = 8


class NotStrict(ValueError):
    """The text is not JSON in the strict form. The message quotes nothing."""


class _Members(dict[str, Any]):
    """The members of one object, and a note if one occurs twice."""

    repeated = False


def _members(pairs: list[tuple[str, Any]]) -> _Members:
    members = _Members(pairs)
    members.repeated = len(members) != len(pairs)
    return members


def _integer(text: str) -> int | float:
    # Negative zero is no whole number of seconds.
    return -0.0 if text == "-0" else int(text)


def _constant(_: str) -> None:
    raise NotStrict("not JSON")


def lenient(text: bytes) -> Any:
    """Reads JSON text; `check` applies the strict rules to the whole or to a part of it."""
    try:
        decoded = text.decode("utf-8")
        return json.loads(decoded, object_pairs_hook=_members, parse_int=_integer, parse_constant=_constant)
    except (ValueError, RecursionError):
        raise NotStrict("not JSON") from None


def check(value: Any, depth: int = DEPTH_MAX) -> None:
    """Raises NotStrict unless the strict rules hold in the value."""
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise NotStrict("a number out of range")
    elif isinstance(value, (dict, list)):
        if depth == 0:
            raise NotStrict("nested too deeply")
        if isinstance(value, list):
            for item in value:
                check(item, depth - 1)
            return
        if getattr(value, "repeated", False):
            raise NotStrict("a member occurs twice")
        for name, item in value.items():
            _check_text(name)
            check(item, depth - 1)


def _check_text(text: str) -> None:
    # An escape can write half of a surrogate pair, which is no character.
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise NotStrict("half of a surrogate pair")


def parse_object(text: bytes) -> dict[str, Any]:
    """Returns the members of one strict JSON object."""
    value = lenient(text)
    check(value)
    if not isinstance(value, dict):
        raise NotStrict("not a JSON object")
    return value
