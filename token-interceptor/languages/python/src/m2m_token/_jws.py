"""The parser of a compact JWS: RFC 7515 sections 4 and 7.1, as strict as RFC 8725 demands."""

from dataclasses import dataclass
from typing import Any

from . import _encoding, strict_json
from .errors import Denied
from .keys import algorithm_of

# RFC 7515 section 4.1.11, RFC 7797: none is supported.
_EXTENSIONS = ("crit", "b64")
# Header parameters that bring a key, or name its URL. They are never used.
_KEYS = ("jwk", "jku", "x5c", "x5u")


@dataclass(frozen=True, repr=False)
class Jws:
    """A decoded token. Nothing in it is trusted."""

    algorithm: str
    key_id: str | None
    token_type: str | None
    #: Header and claims as they were sent.
    signed: bytes
    claims: dict[str, Any]
    signature: bytes
    #: The header parameter that brings a key or its URL.
    foreign_key: str | None


def parse(token: str) -> Jws:
    """Parses a token of any issuer. Raises Denied."""
    signed, _, signature = token.rpartition(".")
    header_part, _, claims_part = signed.partition(".")
    if not (header_part and claims_part and signature) or "." in claims_part:
        raise Denied("malformed", "it is not three parts")
    header = _object(header_part, "its header is not base64url of a JSON object")
    for name in _EXTENSIONS:
        if name in header:
            raise Denied("header", name)
    algorithm_name = _text(header, "alg")
    if algorithm_name is None:
        raise Denied("malformed", "it has no alg")
    # `none` and HMAC have no name here (RFC 8725 section 3.1).
    algorithm = algorithm_of(algorithm_name)
    if algorithm is None:
        raise Denied("algorithm", "alg: not a supported asymmetric algorithm")
    return Jws(
        algorithm,
        _text(header, "kid"),
        _text(header, "typ"),
        signed.encode("utf-8", "replace"),
        _object(claims_part, "its claims are not base64url of a JSON object"),
        _decode(signature, "its signature is not base64url"),
        next((name for name in _KEYS if name in header), None),
    )


def _object(part: str, fault: str) -> dict[str, Any]:
    try:
        return strict_json.parse_object(_decode(part, fault))
    except strict_json.NotStrict:
        raise Denied("malformed", fault) from None


def _decode(part: str, fault: str) -> bytes:
    try:
        return _encoding.decode(part)
    except ValueError:
        raise Denied("malformed", fault) from None


def _text(header: dict[str, Any], name: str) -> str | None:
    value = header.get(name)
    if name in header and not isinstance(value, str):
        raise Denied("malformed", f"{name}: not a string")
    return value
