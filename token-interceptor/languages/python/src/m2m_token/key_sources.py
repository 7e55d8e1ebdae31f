"""The source of an issuer's current keys: fixed, fetched, or pushed.

A verifier reads the cached set and does not wait. The exception is a token whose key is not cached: all calls
with such a token wait for one fetch together. A failed fetch leaves the cached set as it is.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from .errors import Denied
from .keys import FetchKeys, KeySet, VerifyingKey
from .revocations import Revocations

_LOG = logging.getLogger("m2m_token")

#: The longest wait of a call for its key, in seconds. Then the call reads UNAVAILABLE.
WAIT_MAX = 2.0
#: The retry delay that a caller gets when the wait was too long.
RETRY_AFTER_WAIT = 1.0
#: The default age at which a key set is fetched again, in seconds.
MAX_AGE = 300.0
#: The default minimum interval between two fetches for unknown keys, in seconds.
COOLDOWN = 5.0
# The first pause after a failure while there is no set, and the longest ones.
_FIRST_PAUSE = 0.5
_EMPTY_PAUSE_MAX = 5.0
_STALE_PAUSE_MAX = 60.0
# The calls that may wait for one issuer's keys, so that a flood does not take all threads.
_WAITING_MAX = 1024


class KeyOnItsWay(Exception):
    """The key may arrive soon, and the caller did not want to wait."""


class KeySource(Protocol):
    """The current keys and revocations of one issuer."""

    #: The revocations that the issuer pushes.
    revocations: Revocations | None

    @property
    def version(self) -> int:
        """The version of the set. It changes whenever a key may have been withdrawn."""

    @property
    def news(self) -> int:
        """The number of key events so far."""

    def candidates(self, key_id: str | None, algorithm: str) -> list[VerifyingKey] | None:
        """Returns the keys that may have signed a token; see `KeySet.candidates`."""

    def holds(self, key: VerifyingKey) -> bool:
        """Returns True if the issuer still publishes the key."""

    def unknown_key(self, news: int, wait: bool = True) -> bool:
        """Waits briefly for a key event after the first `news`.

        Returns False if the issuer has no such key. Raises Denied if that cannot be known at the moment, and
        KeyOnItsWay instead of waiting if `wait` is False.
        """

    def is_stale(self, now: float) -> bool:
        """Returns True if the state is too old to rely on."""

    def close(self) -> None:
        """Ends the background work."""


class FixedKeys:
    """Keys that do not change."""

    def __init__(self, keys: KeySet, revocations: Revocations | None = None):
        self.version = 0
        self.news = 0
        self.revocations = revocations
        self._keys = keys

    def candidates(self, key_id: str | None, algorithm: str) -> list[VerifyingKey] | None:
        return self._keys.candidates(key_id, algorithm)

    def holds(self, key: VerifyingKey) -> bool:
        return self._keys.holds(key)

    def unknown_key(self, news: int, wait: bool = True) -> bool:
        return False

    def is_stale(self, now: float) -> bool:
        return False

    def close(self) -> None:
        pass


class Held:
    """The current set, its version, and the calls that wait for a newer one."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.keys: KeySet | None = None
        self.version = 0
        self.news = 0
        self._waiting = 0

    def hold(self, keys: KeySet) -> None:
        """Replaces the set."""
        with self.changed:
            if self.keys is None or self.keys.content != keys.content:
                self.keys = keys
                self.version += 1

    def tell(self) -> None:
        """Wakes the waiting calls."""
        with self.changed:
            self.news += 1
            self.changed.notify_all()

    def wait(self, news: int) -> None:
        """Waits for an event after the first `news`. Raises Denied when there is none soon."""
        with self.changed:
            if self._waiting >= _WAITING_MAX:
                raise Denied("key_unavailable", retry_after=RETRY_AFTER_WAIT)
            self._waiting += 1
            try:
                arrived = self.changed.wait_for(lambda: self.news > news, WAIT_MAX)
            finally:
                self._waiting -= 1
        if not arrived:
            raise Denied("key_unavailable", retry_after=RETRY_AFTER_WAIT)


class Schedule:
    """The schedule of fetches: pure functions of past events and the monotonic time in seconds.

    A set is fetched again once it is as old as `max_age`. After a failure it is retried: quickly while
    there is no set at all, else no sooner than `cooldown`. An unknown key causes a fetch at once, but no
    sooner than `cooldown` after the last such fetch ended.
    """

    def __init__(self, max_age: float, cooldown: float, now: float):
        self._max_age = max_age
        self._cooldown = cooldown
        self._due = now
        self._quiet_until = now
        self._in_flight = False
        self._for_unknown_key = False
        self._wanted = False
        self._failures = 0
        self._holds_a_set = False

    def next(self, now: float) -> float:
        """Returns the time to call `begin`. It may be in the past."""
        return now if self._wanted else self._due

    def begin(self) -> None:
        """Records that a fetch begins."""
        self._in_flight, self._for_unknown_key, self._wanted = True, self._wanted, False

    def succeeded(self, now: float) -> None:
        """Records that the fetch brought a set."""
        if self._for_unknown_key:
            self._quiet_until = now + self._cooldown
        self._in_flight = False
        self._failures = 0
        self._holds_a_set = True
        self._due = now + self._max_age

    def failed(self, now: float, jitter: float) -> None:
        """Records that the fetch failed. `jitter` is random, 0 to 1."""
        self._in_flight = False
        doubled = _FIRST_PAUSE * 2 ** min(self._failures, 16)
        self._failures += 1
        if self._holds_a_set:
            pause = max(min(doubled, _STALE_PAUSE_MAX), self._cooldown)
        else:
            pause = min(doubled, _EMPTY_PAUSE_MAX)
        self._quiet_until = now + self._cooldown
        self._due = now + pause + min(pause, _STALE_PAUSE_MAX) * jitter / 4

    def unknown_key(self, now: float) -> bool:
        """Returns True to wait for a fetch, and False if the set was fetched just now. Raises Denied."""
        if self._in_flight or self._wanted or self._due <= now:
            return True
        quiet = self._quiet_until - now
        if quiet > 0:
            if not self._failures:
                return False
            raise Denied("key_unavailable", retry_after=max(min(quiet, self._due - now), 0.0))
        self._wanted = True
        return True


class FetchedKeys:
    """A key set that is fetched, cached, and fetched again: one background thread, one fetch at a time."""

    def __init__(
        self,
        issuer: str,
        fetch: FetchKeys,
        *,
        max_age: float = MAX_AGE,
        cooldown: float = COOLDOWN,
        stale_after: float | None = None,
        revocations: Revocations | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
        background: bool = True,
    ):
        """`background=False` fetches in the calling thread: for tests."""
        if max_age < 1 or cooldown < 1:
            raise ValueError("max_age and cooldown must be a second at least")
        self.revocations = revocations
        self._issuer = issuer
        self._fetch = fetch
        self._stale_after = stale_after
        self._clock = clock
        self._wall = wall
        self._draw = draw
        self._background = background
        self._held = Held()
        self._schedule = Schedule(max_age, cooldown, clock())
        self._fetched_at: tuple[float, float] | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def version(self) -> int:
        return self._held.version

    @property
    def news(self) -> int:
        return self._held.news

    def candidates(self, key_id: str | None, algorithm: str) -> list[VerifyingKey] | None:
        self._keep_fresh()
        keys = self._held.keys
        return None if keys is None else keys.candidates(key_id, algorithm)

    def holds(self, key: VerifyingKey) -> bool:
        keys = self._held.keys
        return keys is not None and keys.holds(key)

    def unknown_key(self, news: int, wait: bool = True) -> bool:
        with self._held.changed:
            if not self._schedule.unknown_key(self._clock()):
                return False
            self._held.changed.notify_all()
        if not wait:
            raise KeyOnItsWay
        self._keep_fresh()
        self._held.wait(news)
        return True

    def is_stale(self, now: float) -> bool:
        self._keep_fresh()
        if self._stale_after is None or self._fetched_at is None:
            return False
        monotonic, wall = self._fetched_at
        # One clock stands still while the machine is suspended; the other can be set.
        return max(self._clock() - monotonic, self._wall() - wall) > self._stale_after

    def close(self) -> None:
        with self._held.changed:
            self._closed = True
            self._held.changed.notify_all()

    def _keep_fresh(self) -> None:
        if not self._background:
            if self._schedule.next(self._clock()) <= self._clock():
                self._fetch_once()
        elif self._thread is None or not self._thread.is_alive():
            with self._held.changed:
                # A process that was forked has no threads of its parent.
                if not self._closed and (self._thread is None or not self._thread.is_alive()):
                    self._thread = threading.Thread(target=self._keep, name="m2m-token keys", daemon=True)
                    self._thread.start()

    def _keep(self) -> None:
        while True:
            with self._held.changed:
                while not self._closed:
                    pause = self._schedule.next(self._clock()) - self._clock()
                    if pause <= 0:
                        break
                    self._held.changed.wait(pause)
                if self._closed:
                    return
            self._fetch_once()

    def _fetch_once(self) -> None:
        with self._held.changed:
            self._schedule.begin()
        try:
            keys = self._fetch().usable()
        except Exception as error:
            _LOG.warning("the key set of %s could not be fetched: %s", self._issuer, error)
            with self._held.changed:
                self._schedule.failed(self._clock(), self._draw())
        else:
            self._held.hold(keys)
            self._fetched_at = self._clock(), self._wall()
            with self._held.changed:
                self._schedule.succeeded(self._clock())
        self._held.tell()
