"""The state machine that renews one token.

It is pure and synchronous: it takes the time, an event and a random draw, and returns the next action. It
knows times only, never the token. Times are whole nanoseconds.

It watches two clocks, and a time has come when either has reached it. Monotonic time stands still while a
machine is suspended, and the wall clock may be set back.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

SECOND = 1_000_000_000
MILLISECOND = 1_000_000

#: The longest use of a token, even if its issuer states a longer lifetime.
LIFETIME_MAX = 365 * 24 * 60 * 60 * SECOND
# The time for which calls wait while the source returns expired tokens, and the longest pause meanwhile.
_EXPIRED_PATIENCE = 5 * SECOND
_EXPIRED_PAUSE_MAX = SECOND
# The shortest pause, for any draw: a source that fails at once is not asked in a busy loop.
_PAUSE_MIN = 50 * MILLISECOND
_TRANSIENT_FIRST, _TRANSIENT_MAX = 100 * MILLISECOND, 30 * SECOND
_REFUSED_FIRST, _REFUSED_MAX = SECOND, 60 * SECOND
# The longest pause that a server may demand, and the longest random addition to it.
_RETRY_AFTER_MAX = 300 * SECOND
_RETRY_AFTER_SPREAD_MAX = SECOND
# A rejected token is replaced at once, then after 1 s, 2 s, up to 60 s.
_APART_FIRST, _APART_MAX = SECOND, 60 * SECOND


class Now(NamedTuple):
    """One reading of both clocks."""

    monotonic: int
    wall: int

    def plus(self, duration: int) -> "Now":
        """Returns a later time."""
        # Times from other parties are bounded.
        duration = min(duration, LIFETIME_MAX)
        return Now(self.monotonic + duration, self.wall + duration)

    def has_reached(self, moment: "Now") -> bool:
        """Returns True if either clock says so."""
        return self.monotonic >= moment.monotonic or self.wall >= moment.wall


class Woke(NamedTuple):
    """The time of `Next.wake` has come."""


class Wanted(NamedTuple):
    """A call finds no usable token, or sees that renewal is due."""


class Rejected(NamedTuple):
    """A server refused the token of this generation."""

    generation: int


class Fetched(NamedTuple):
    """The source returned a token. The lifetime counts from the request, so it is never too long."""

    asked_at: Now
    expires_in: int
    refresh_after: int | None = None


class Failed(NamedTuple):
    """The source failed."""

    refused: bool = False
    #: True if the source returned a token that had expired on arrival.
    expired: bool = False
    #: The pause that the source demands.
    retry_after: int | None = None


Event = Woke | Wanted | Rejected | Fetched | Failed


class Next(NamedTuple):
    """The next action."""

    #: True to request a token now. Only while no request is in flight.
    fetch: bool
    #: Report `Woke` at this monotonic time, unless something else happens first.
    wake: int | None


@dataclass
class Holding:
    """The current token."""

    generation: int
    renew_at: Now
    expires_at: Now
    rejected: bool = False


@dataclass
class _Trouble:
    refused: bool
    failures: int
    retry_at: int
    #: True if calls wait for a new answer and do not get this one.
    forgotten: bool
    #: The time since which the source returns expired tokens.
    expired_since: int | None


class Machine:
    """The state machine; see the module."""

    def __init__(self, while_used: bool = False):
        """`while_used`: renew ahead of expiry only while calls use the token."""
        self._while_used = while_used
        #: The generation of the newest token so far.
        self.generation = 0
        self.held: Holding | None = None
        #: The newest generation whose rejection has been handled.
        self.rejected = 0
        self._in_flight: int | None = None
        self._trouble: _Trouble | None = None
        self._last_replacement: tuple[int, int] | None = None
        self._wanted = False
        #: Set when a call used the token since it arrived.
        self.used = False

    @property
    def in_flight(self) -> bool:
        """True if a request is in flight."""
        return self._in_flight is not None

    @property
    def blamed_until(self) -> int | None:
        """The time of the next request. Until its answer, a call without a token fails with the last failure.

        None: the call waits.
        """
        trouble = self._trouble
        return None if trouble is None or trouble.forgotten else trouble.retry_at

    def handle(self, event: Event, now: Now, draw: float) -> Next:
        """Handles an event and returns the next action. `draw` is uniform in 0.0..1.0."""
        if isinstance(event, Wanted):
            self._wanted |= self.held is None or now.has_reached(self.held.renew_at)
        elif isinstance(event, Rejected):
            self._reject(event.generation)
        elif isinstance(event, Fetched):
            self._accept(event, draw)
        elif isinstance(event, Failed):
            self._fail(event, now, draw)
        self._pass_time(now)
        fetch = self._in_flight is None and self._wanted and now.monotonic >= self._blocked_until(now)
        if fetch:
            self._begin(now)
        return Next(fetch, self._wake(now))

    def _reject(self, generation: int) -> None:
        if generation <= self.rejected:
            return
        self.rejected = generation
        if self.held is not None and self.held.generation == generation:
            self.held.rejected = True
            self._wanted = True

    def _accept(self, fetched: Fetched, draw: float) -> None:
        self.generation += 1
        self.held = Holding(
            self.generation,
            fetched.asked_at.plus(_renew_after(fetched, draw)),
            fetched.asked_at.plus(fetched.expires_in),
        )
        self._in_flight = None
        self._trouble = None
        self._wanted = self.used = False

    def _fail(self, failed: Failed, now: Now, draw: float) -> None:
        began = now.monotonic if self._in_flight is None else self._in_flight
        self._in_flight = None
        before = self._trouble if self._trouble and self._trouble.refused == failed.refused else None
        failures = (before.failures if before else 0) + 1
        expired_since = None
        if failed.expired:
            since = before.expired_since if before else None
            expired_since = now.monotonic if since is None else since
        patient = expired_since is not None and now.monotonic - expired_since < _EXPIRED_PATIENCE
        if failed.refused:
            retry_at = now.monotonic + _refused(failures, draw)
        else:
            # Counted from the start of the attempt: one that hung has already waited.
            pause = _transient(failures, draw)
            pause = min(pause, _EXPIRED_PAUSE_MAX) if patient else pause
            retry_at = max(began + pause, now.monotonic + _PAUSE_MIN)
        if failed.retry_after is not None:
            retry_at = max(retry_at, now.monotonic + _asked_for(failed.retry_after, draw))
        self._trouble = _Trouble(failed.refused, failures, retry_at, patient, expired_since)
        # After a refusal, the next request waits until a call needs a token.
        self._wanted &= not failed.refused

    def _pass_time(self, now: Now) -> None:
        """Applies the changes that time alone causes."""
        held = self.held
        if held is not None and now.has_reached(held.expires_at):
            self.held = None
            # Only the wall clock has reached it: the machine was suspended. Earlier failures no longer
            # matter.
            if now.monotonic < held.expires_at.monotonic and self._trouble and not self._trouble.refused:
                self._trouble = None
        trouble = self._trouble
        if trouble is not None and trouble.refused:
            trouble.forgotten |= now.monotonic >= trouble.retry_at
        due = self.held is not None and now.has_reached(self.held.renew_at)
        refused = trouble is not None and trouble.refused
        self._wanted |= due and not refused and (self.used or not self._while_used)

    def _blocked_until(self, now: Now) -> int:
        blocked = self._trouble.retry_at if self._trouble else now.monotonic
        # A token that is due is renewed, rejected or not.
        paced = self.held is not None and self.held.rejected and not now.has_reached(self.held.renew_at)
        if paced and self._last_replacement is not None:
            at, apart = self._last_replacement
            blocked = max(blocked, at + apart)
        return blocked

    def _begin(self, now: Now) -> None:
        if self.held is not None and self.held.rejected:
            apart = _APART_FIRST
            if self._last_replacement is not None:
                at, before = self._last_replacement
                # Quiet for twice the interval: that trouble is over.
                if now.monotonic - at < before * 2:
                    apart = min(before * 2, _APART_MAX)
            self._last_replacement = now.monotonic, apart
        self._in_flight = now.monotonic

    def _wake(self, now: Now) -> int | None:
        times = []
        idle = self._in_flight is None
        if self.held is not None:
            times.append(self.held.expires_at.monotonic)
            if idle and not now.has_reached(self.held.renew_at):
                times.append(self.held.renew_at.monotonic)
        if idle and self._wanted:
            times.append(self._blocked_until(now))
        if self._trouble and self._trouble.refused and not self._trouble.forgotten:
            times.append(self._trouble.retry_at)
        return min(times, default=None)


def _renew_after(fetched: Fetched, draw: float) -> int:
    """Returns the time of renewal, counted from the request.

    It is the server's, if that is plausible. Otherwise it is between 65 and 80 % of the lifetime: early
    enough to survive an outage, late enough not to double the load.
    """
    lifetime = min(fetched.expires_in, LIFETIME_MAX)
    after = fetched.refresh_after
    if after is None or not 0 < after < lifetime:
        after = scaled(lifetime, 0.65 + 0.15 * draw)
    return max(after, min(SECOND, lifetime // 2))


def _transient(failures: int, draw: float) -> int:
    return max(scaled(_doubled(_TRANSIENT_FIRST, failures, _TRANSIENT_MAX), draw), _PAUSE_MIN)


def _refused(failures: int, draw: float) -> int:
    return min(scaled(_doubled(_REFUSED_FIRST, failures, _REFUSED_MAX), 1.0 + draw / 4.0), _REFUSED_MAX)


def _asked_for(retry_after: int, draw: float) -> int:
    pause = min(retry_after, _RETRY_AFTER_MAX)
    return pause + scaled(min(pause // 10, _RETRY_AFTER_SPREAD_MAX), draw)


def _doubled(first: int, failures: int, limit: int) -> int:
    return min(first << min(max(failures - 1, 0), 16), limit)


def scaled(duration: int, factor: float) -> int:
    """Multiplies in seconds, as a float, and rounds to the nearest nanosecond."""
    exact: Fraction = Fraction(duration / SECOND * factor) * SECOND
    # Ties go to the even neighbour, as in Rust.
    return round(exact)


def nanoseconds(seconds: float) -> int:
    """Returns seconds as nanoseconds, bounded by LIFETIME_MAX."""
    return min(max(round(min(seconds, LIFETIME_MAX / SECOND) * SECOND), 0), LIFETIME_MAX)
