"""The bearer token of a call: RFC 6750 section 2.1."""

from collections.abc import Iterable

from .errors import Denied


def bearer(values: Iterable[str | bytes]) -> str:
    """Returns the one token in the values of the `authorization` metadata. Raises Denied otherwise."""
    texts = [value if isinstance(value, str) else value.decode("latin-1") for value in values]
    if not texts:
        raise Denied("credentials_missing")
    # A proxy may read the first field and this layer the last. A caller that sends two wants them to
    # disagree.
    if len(texts) > 1:
        raise Denied("credentials_malformed", "authorization occurs twice")
    scheme, rest = texts[0][:6], texts[0][6:]
    if scheme.lower() != "bearer" or not scheme.isascii() or (rest and rest[0] != " "):
        raise Denied("credentials_missing")
    token = rest.lstrip(" ")
    if not token:
        raise Denied("credentials_malformed", "no token follows Bearer")
    return token
