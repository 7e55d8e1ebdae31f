"""Strict base64url without padding: RFC 7515 section 2."""

import base64
import re

_ALPHABET = re.compile(r"[A-Za-z0-9_-]*\Z")


def decode(text: str) -> bytes:
    """Returns the bytes. Raises ValueError for padding, other characters, and unused bits that are set."""
    if not _ALPHABET.match(text) or len(text) % 4 == 1:
        raise ValueError("not base64url")
    decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode(decoded) != text:
        raise ValueError("not base64url")
    return decoded


def encode(data: bytes) -> str:
    """Returns the text without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
