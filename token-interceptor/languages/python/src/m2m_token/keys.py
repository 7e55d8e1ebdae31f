"""The public keys of an issuer: an immutable set, each key bound to one algorithm. RFC 7517 section 5.

The signature is checked by PyJWT. The checks of a JWK are this module's own.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

import jwt
from jwt.algorithms import AllowedPublicKeys

from . import _encoding, strict_json

#: The algorithms that an issuer of this project signs with.
DEFAULT_ALGORITHMS = ("ES256", "EdDSA", "ES384", "PS256", "RS256")
#: The supported algorithms. There is no HMAC and no `none`.
ALGORITHMS = (*DEFAULT_ALGORITHMS, "ES512")

# RFC 7518 sections 6.2.2, 6.3.2 and 6.4.
_PRIVATE_MEMBERS = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
# The curve's algorithm, and the prime of its field: SEC 2 sections 2.4.2, 2.5.1 and 2.6.1.
_CURVES = {
    "P-256": ("ES256", 2**256 - 2**224 + 2**192 + 2**96 - 1),
    "P-384": ("ES384", 2**384 - 2**128 - 2**96 + 2**32 - 1),
    "P-521": ("ES512", 2**521 - 1),
}
_MODULUS_BYTES_MIN = 256
_MODULUS_BITS_MAX = 8192
_EXPONENT_BITS_MAX = 33
# Keys that are tried for one token. Each costs one signature check, which an attacker can cause.
_CANDIDATES_MAX = 4


def algorithm_of(name: str) -> str | None:
    """Returns the algorithm of a JOSE name. `Ed25519` is RFC 9864's name for `EdDSA`."""
    name = "EdDSA" if name == "Ed25519" else name
    return name if name in ALGORITHMS else None


class UnusableKey(ValueError):
    """The JWK is not a public signing key of a known algorithm."""


class KeySetError(ValueError):
    """The document is no JWK Set, or lists keys and none is usable."""


class VerifyingKey:
    """A public key with its one algorithm. A token's header cannot choose another (RFC 8725 section 3.1)."""

    def __init__(self, jwk: dict[str, Any]):
        """Reads a public JWK, strict JSON. Raises UnusableKey."""
        _check_use(jwk)
        self.key_id = _optional_text(jwk, "kid")
        declared = _optional_text(jwk, "alg")
        if declared is not None:
            declared = algorithm_of(declared)
            if declared is None:
                raise UnusableKey("its alg is not supported")
        kind = _optional_text(jwk, "kty")
        readers = {"EC": _ec, "OKP": _okp, "RSA": _rsa}
        if kind not in readers:
            raise UnusableKey("its kty is not EC, OKP or RSA")
        self.algorithm, parameters = readers[kind](jwk, declared)
        #: Equal keys have an equal identity.
        self.identity = (self.key_id, self.algorithm, *parameters.items())
        self._algorithm = jwt.get_algorithm_by_name(self.algorithm)
        try:
            self._key: AllowedPublicKeys = self._algorithm.from_jwk({"kty": kind, **parameters})
        except (jwt.PyJWTError, ValueError, TypeError):
            raise UnusableKey("its parameters are not a key") from None

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Returns True if this key made the signature over the message."""
        try:
            return bool(self._algorithm.verify(message, self._key, signature))
        except (jwt.PyJWTError, ValueError, TypeError):
            return False


class KeySet:
    """An immutable set of keys. Unusable keys are skipped."""

    def __init__(self, keys: Iterable[VerifyingKey], skipped: int = 0):
        self._keys = tuple(keys)
        #: The number of the document's unusable keys.
        self.skipped = skipped
        #: Equal sets have an equal content.
        self.content = frozenset(key.identity for key in self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"KeySet({len(self._keys)} keys, {self.skipped} skipped)"

    @classmethod
    def from_jwks(cls, document: bytes) -> "KeySet":
        """Reads a JWK Set. Raises KeySetError when it is not a JSON object with an array `keys`."""
        try:
            value = strict_json.lenient(document)
        except strict_json.NotStrict:
            raise KeySetError("not a JWK Set (RFC 7517 section 5)") from None
        jwks = value.get("keys") if isinstance(value, dict) else None
        if not isinstance(jwks, list) or _occurs_twice(document, "keys", value):
            raise KeySetError("not a JWK Set (RFC 7517 section 5)")
        return cls.from_values(jwks)

    @classmethod
    def from_texts(cls, jwks: Iterable[str]) -> "KeySet":
        """Reads JWKs, each in its JSON."""
        values = []
        for text in jwks:
            try:
                values.append(strict_json.lenient(text.encode()))
            except strict_json.NotStrict:
                values.append(None)
        return cls.from_values(values)

    @classmethod
    def from_values(cls, jwks: Iterable[Any]) -> "KeySet":
        """Reads JWKs that were parsed by `strict_json.lenient`."""
        keys, skipped = [], 0
        for jwk in jwks:
            try:
                strict_json.check(jwk)
                if not isinstance(jwk, dict):
                    raise UnusableKey("not a JSON object")
                keys.append(VerifyingKey(jwk))
            except ValueError:
                skipped += 1
        return cls(keys, skipped)

    def usable(self) -> "KeySet":
        """Returns the set. Raises KeySetError if it lists keys and none is usable."""
        if not self._keys and self.skipped:
            raise KeySetError("the key set has no usable key")
        return self

    def candidates(self, key_id: str | None, algorithm: str) -> list[VerifyingKey] | None:
        """Returns the keys that may have signed a token.

        None if the set has no such key. Empty if the key exists for another algorithm.
        """
        if key_id is None:
            keys = [key for key in self._keys if key.algorithm == algorithm]
            return keys[:_CANDIDATES_MAX] or None
        named = [key for key in self._keys if key.key_id == key_id]
        if not named:
            return None
        return [key for key in named if key.algorithm == algorithm][:_CANDIDATES_MAX]

    def holds(self, key: VerifyingKey) -> bool:
        """Returns True if the set contains the key."""
        return key.identity in self.content


def _occurs_twice(document: bytes, name: str, value: dict[str, Any]) -> bool:
    """Returns True if the outermost object has the member twice. Other members may repeat."""
    if not getattr(value, "repeated", False):
        return False

    def count(pairs: list[tuple[str, Any]]) -> int:
        # The outermost object is read last, so its count is what the parser returns.
        return sum(member == name for member, _ in pairs)

    return bool(json.loads(document, object_pairs_hook=count) > 1)


def _check_use(jwk: dict[str, Any]) -> None:
    if any(member in jwk for member in _PRIVATE_MEMBERS):
        raise UnusableKey("it has a private member")
    if jwk.get("use", "sig") != "sig":
        raise UnusableKey("its use is not sig")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise UnusableKey("its key_ops do not allow verify")


_Read = tuple[str, dict[str, str]]


def _ec(jwk: dict[str, Any], declared: str | None) -> _Read:
    curve = _optional_text(jwk, "crv")
    if curve not in _CURVES:
        raise UnusableKey("its crv is not supported")
    algorithm, prime = _CURVES[curve]
    _agree(declared, algorithm)
    x, y = _bytes(jwk, "x"), _bytes(jwk, "y")
    # RFC 7518 section 6.2.1.2: full length, leading zeros kept.
    length = (prime.bit_length() + 7) // 8
    if len(x) != length or len(y) != length:
        raise UnusableKey("a coordinate does not have the curve's length")
    # OpenSSL checks that the point is on the curve, and reduces a larger coordinate.
    if any(int.from_bytes(coordinate, "big") >= prime for coordinate in (x, y)):
        raise UnusableKey("its coordinates are not a point on the curve")
    return algorithm, {"crv": curve, "x": _encoding.encode(x), "y": _encoding.encode(y)}


def _okp(jwk: dict[str, Any], declared: str | None) -> _Read:
    if _optional_text(jwk, "crv") != "Ed25519":
        raise UnusableKey("its crv is not supported")
    _agree(declared, "EdDSA")
    x = _bytes(jwk, "x")
    if len(x) != 32:
        raise UnusableKey("a coordinate does not have the curve's length")
    return "EdDSA", {"crv": "Ed25519", "x": _encoding.encode(x)}


def _rsa(jwk: dict[str, Any], declared: str | None) -> _Read:
    # RFC 9068 section 2.1 requires RS256.
    algorithm = declared or "RS256"
    if algorithm not in ("RS256", "PS256"):
        raise UnusableKey("its alg does not belong to its kty")
    n, e = (_bytes(jwk, name).lstrip(b"\0") for name in ("n", "e"))
    if len(n) < _MODULUS_BYTES_MIN:
        raise UnusableKey("its modulus has less than 2048 bits")
    modulus, exponent = int.from_bytes(n, "big"), int.from_bytes(e, "big")
    if modulus.bit_length() > _MODULUS_BITS_MAX:
        raise UnusableKey("its modulus has more than 8192 bits")
    odd = modulus % 2 == 1 and exponent % 2 == 1
    if not odd or exponent == 1 or exponent.bit_length() > _EXPONENT_BITS_MAX:
        raise UnusableKey("its modulus or its exponent is not one of an RSA key")
    return algorithm, {"n": _encoding.encode(n), "e": _encoding.encode(e)}


def _agree(declared: str | None, algorithm: str) -> None:
    if declared not in (None, algorithm):
        raise UnusableKey("its alg does not belong to its crv")


def _optional_text(jwk: dict[str, Any], name: str) -> str | None:
    value = jwk.get(name)
    if name in jwk and not isinstance(value, str):
        raise UnusableKey("a member has the wrong type")
    return value


def _bytes(jwk: dict[str, Any], name: str) -> bytes:
    text = _optional_text(jwk, name)
    if text is None:
        raise UnusableKey("a key parameter is missing")
    try:
        return _encoding.decode(text)
    except ValueError:
        raise UnusableKey("a key parameter is not base64url") from None


#: Fetches the current key set of an issuer. Raises KeySetError, OSError or ValueError.
FetchKeys = Callable[[], KeySet]
