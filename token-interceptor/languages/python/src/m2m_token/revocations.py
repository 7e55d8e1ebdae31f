"""Revoked tokens: single ones by their `jti`, or every token of a client that was issued before a time.

The set keeps hashes, not names: the first 16 bytes of SHA-256, as `m2m.token.v1.Revocation` carries them.
"""

import hashlib
import threading

from .token import Caller

#: Later than any `iat`, and than any time to forget.
ALWAYS = 2**64 - 1


def token_hash(token_id: str) -> bytes:
    """Returns the hash of the `jti` of one token."""
    return hashlib.sha256(b"revoked token\0" + token_id.encode()).digest()[:16]


def client_hash(client_id: str) -> bytes:
    """Returns the hash of a client ID."""
    return hashlib.sha256(b"revoked client\0" + client_id.encode()).digest()[:16]


class Revocations:
    """The revocations of one issuer. Safe for concurrent use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Hash to (issued before, forget at).
        self._entries: dict[bytes, tuple[int, int]] = {}
        #: Rises with every addition. A cached verdict from an earlier version is checked again.
        self.version = 0

    def __len__(self) -> int:
        return len(self._entries)

    def revoke_token(self, token_id: str, forget_at: int = ALWAYS) -> None:
        """Revokes the token with this `jti`. `forget_at`: its expiry, in seconds since 1970."""
        self.add(token_hash(token_id), ALWAYS, forget_at)

    def revoke_client(self, client_id: str, issued_before: int, forget_at: int = ALWAYS) -> None:
        """Revokes every token of this client with an `iat` before `issued_before`."""
        self.add(client_hash(client_id), issued_before, forget_at)

    def add(self, target: bytes, issued_before: int, forget_at: int) -> None:
        """Adds an entry. Nothing that is revoked becomes valid by it: the later times of two entries hold."""
        with self._lock:
            before = self._entries.get(target, (0, 0))
            self._entries[target] = (max(before[0], issued_before), max(before[1], forget_at))
            self.version += 1

    def forget(self, now: int) -> None:
        """Drops the entries that no token needs any more."""
        with self._lock:
            self._entries = {target: entry for target, entry in self._entries.items() if entry[1] > now}

    def revokes(self, caller: Caller) -> bool:
        """Returns True if the token, its client, or one of its ancestors or their clients is revoked."""
        if not self._entries:
            return False
        tokens = [(caller.token_id, caller.client_id, caller.issued_at), *caller.ancestors()]
        return any(
            self._holds(token_hash(token_id), issued_at) or self._holds(client_hash(client_id), issued_at)
            for token_id, client_id, issued_at in tokens
        )

    def _holds(self, target: bytes, issued_at: int) -> bool:
        entry = self._entries.get(target)
        return entry is not None and issued_at < entry[0]
