"""One access token, renewed in time: the shell around `machine`.

A call never waits if there is a usable token. Renewal happens in the background, ahead of expiry, one
request at a time. A call that gives up cancels nothing.
"""

import heapq
import itertools
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from .machine import (
    MILLISECOND,
    SECOND,
    Event,
    Failed,
    Fetched,
    Machine,
    Now,
    Rejected,
    Wanted,
    Woke,
)
from .source import IssuedToken, SourceError, TokenRequest

_LOG = logging.getLogger("m2m_token")

#: The time after which an attempt has failed, in nanoseconds. It outlasts a stall of 30 s, as a retry would
#: only lengthen the issuer's queue.
ATTEMPT_MAX = 30_500 * MILLISECOND

#: The outcome of one request to a source.
Answer = IssuedToken | SourceError


class Ready(NamedTuple):
    """A usable token. Its generation tells if a rejection of it is news."""

    value: str
    generation: int
    #: The token as metadata of a call.
    metadata: tuple[tuple[str, str], ...]


class _Current(NamedTuple):
    ready: Ready
    renew_at: Now
    expires_at: Now


class NoToken(Exception):
    """The reason that there is no usable token. Every call that waited for it gets the same failure."""

    def __init__(self, request: TokenRequest, error: SourceError, retry_in: int):
        super().__init__(f"no access token for {request}: {error}")
        self.request = request
        self.error = error
        #: The time until the next request, in nanoseconds.
        self.retry_in = retry_in


#: Called once with the outcome of a wait. None: no replacement is to arrive now.
Waiter = Callable[[Ready | NoToken | None], None]


class Runtime(Protocol):
    """The clocks, the random draw, the timers, and the threads that requests run in."""

    def now(self) -> Now:
        """Reads both clocks."""

    def draw(self) -> float:
        """Returns a random number, uniform in 0.0..1.0."""

    def call_at(self, monotonic: int, call: Callable[[], None]) -> Callable[[], None]:
        """Calls at that time, and returns a function that cancels it."""

    def run(self, fetch: Callable[[], IssuedToken], done: Callable[[Answer], None]) -> None:
        """Runs one request in the background."""


class ThreadRuntime:
    """The runtime of a program: one thread for timers, and one for each request in flight."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._timers: list[tuple[int, int, list[Callable[[], None]]]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def now(self) -> Now:
        return Now(time.monotonic_ns(), time.time_ns())

    def draw(self) -> float:
        return random.random()

    def call_at(self, monotonic: int, call: Callable[[], None]) -> Callable[[], None]:
        slot = [call]
        with self._changed:
            heapq.heappush(self._timers, (monotonic, next(self._numbers), slot))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._keep, name="m2m-token timers", daemon=True)
                self._thread.start()
            self._changed.notify()
        return slot.clear

    def run(self, fetch: Callable[[], IssuedToken], done: Callable[[Answer], None]) -> None:
        def attempt() -> None:
            try:
                answer: Answer = fetch()
            except SourceError as error:
                answer = error
            except Exception as error:
                # The message of a foreign error may hold a secret.
                answer = SourceError(f"the token source failed with {type(error).__name__}")
            done(answer)

        threading.Thread(target=attempt, name="m2m-token request", daemon=True).start()

    def _keep(self) -> None:
        while True:
            with self._changed:
                while not self._timers or self._timers[0][0] > time.monotonic_ns():
                    pause = (self._timers[0][0] - time.monotonic_ns()) / SECOND if self._timers else None
                    self._changed.wait(None if pause is None else min(max(pause, 0.0), 60.0))
                _, _, slot = heapq.heappop(self._timers)
            for call in slot:
                call()


class Keeper:
    """One token. Safe for concurrent use."""

    def __init__(
        self,
        request: TokenRequest,
        fetch: Callable[[TokenRequest], IssuedToken],
        runtime: Runtime,
        while_used: bool = False,
    ):
        self.request = request
        self._fetch = fetch
        self._runtime = runtime
        self._lock = threading.RLock()
        self._machine = Machine(while_used)
        self._value = ""
        # Replaced as a whole, under the lock. A call reads it without the lock.
        self._current: _Current | None = None
        self._error: SourceError | None = None
        self._attempt = 0
        self._asked_at = runtime.now()
        self._cancel_timer: Callable[[], None] | None = None
        self._cancel_attempt: Callable[[], None] | None = None
        self._wake: int | None = None
        self._nudged = False
        self._closed = False
        self._waiting: list[tuple[int, Waiter]] = []

    def ready(self) -> Ready | None:
        """Returns the token while both clocks say that it is valid. Never waits."""
        current = self._current
        if current is None:
            return None
        ready, renew_at, expires_at = current
        now = self._runtime.now()
        if now.has_reached(expires_at):
            return None
        self._machine.used = True
        if now.has_reached(renew_at):
            self._nudge()
        return ready

    def _nudge(self) -> None:
        """Reports that renewal is due, once."""
        with self._lock:
            if not self._nudged:
                # The timer stands still while the machine is suspended; the wall clock does not.
                self._nudged = True
                self._tell(Wanted())

    def obtain(self, waiter: Waiter) -> None:
        """Calls `waiter` with a token or with the failure: at once, or when the request has ended."""
        with self._lock:
            self._tell(Wanted())
            outcome = self._look()
            if outcome is None:
                self._waiting.append((0, waiter))
                return
        waiter(outcome)

    def reject(self, generation: int) -> None:
        """Replaces the token in the background: a server refused this generation."""
        with self._lock:
            self._tell(Rejected(generation))

    def replace(self, rejected: int, waiter: Waiter) -> None:
        """Calls `waiter` with a token newer than the rejected one, or with None if none is to arrive now."""
        with self._lock:
            self._tell(Rejected(rejected))
            outcome, pending = self._look_past(rejected)
            if pending:
                self._waiting.append((rejected, waiter))
                return
        waiter(outcome)

    def _look(self) -> Ready | NoToken | None:
        current, now = self._current, self._runtime.now()
        if current is not None and not now.has_reached(current.expires_at):
            self._machine.used = True
            return current.ready
        blamed_until = self._machine.blamed_until
        if blamed_until is not None and self._error is not None:
            return NoToken(self.request, self._error, max(blamed_until - now.monotonic, 0))
        return None

    def _look_past(self, rejected: int) -> tuple[Ready | None, bool]:
        """Returns a newer token, and True if one is to arrive."""
        current, now = self._current, self._runtime.now()
        newer = current is not None and current.ready.generation > rejected
        if current is not None and newer and not now.has_reached(current.expires_at):
            return current.ready, False
        return None, self._machine.in_flight and self._machine.blamed_until is None

    def _tell(self, event: Event) -> None:
        now = self._runtime.now()
        then = self._machine.handle(event, now, self._runtime.draw())
        self._publish()
        if then.fetch:
            self._attempt += 1
            self._asked_at = now
            attempt = self._attempt
            self._cancel_attempt = self._runtime.call_at(
                now.monotonic + ATTEMPT_MAX, lambda: self._timed_out(attempt)
            )
            self._runtime.run(
                lambda: self._fetch(self.request), lambda answer: self._arrived(attempt, answer)
            )
        self._set_timer(then.wake)
        self._settle()

    def _publish(self) -> None:
        held, current = self._machine.held, self._current
        if held is None:
            self._current = None
        elif current is None or current.ready.generation != held.generation:
            metadata = (("authorization", f"Bearer {self._value}"),)
            ready = Ready(self._value, held.generation, metadata)
            self._current = _Current(ready, held.renew_at, held.expires_at)

    def _set_timer(self, wake: int | None) -> None:
        if wake == self._wake:
            return
        if self._cancel_timer is not None:
            self._cancel_timer()
            self._cancel_timer = None
        self._wake = None if self._closed else wake
        if self._wake is not None:
            self._cancel_timer = self._runtime.call_at(self._wake, self._woke)

    def close(self) -> None:
        """Ends the renewal. Waiting calls still get their answer."""
        with self._lock:
            self._closed = True
            self._set_timer(None)

    def _woke(self) -> None:
        with self._lock:
            self._wake, self._cancel_timer, self._nudged = None, None, False
            if not self._closed:
                self._tell(Woke())

    def _timed_out(self, attempt: int) -> None:
        self._arrived(attempt, SourceError("no answer came in time", cause="timed_out"))

    def _arrived(self, attempt: int, answer: Answer) -> None:
        with self._lock:
            if attempt != self._attempt or not self._machine.in_flight:
                return
            self._nudged = False
            if self._cancel_attempt is not None:
                self._cancel_attempt()
                self._cancel_attempt = None
            now = self._runtime.now()
            expired = False
            if isinstance(answer, IssuedToken) and now.has_reached(self._asked_at.plus(answer.expires_in)):
                expired = True
                answer = SourceError(
                    "the access token had expired when it arrived", cause="expired_on_arrival"
                )
            if isinstance(answer, IssuedToken):
                lifetime = answer.expires_in
                if self.request.max_age is not None:
                    lifetime = min(lifetime, self.request.max_age)
                self._value, self._error = answer.value, None
                self._tell(Fetched(self._asked_at, lifetime, answer.refresh_after))
                return
            self._error = answer
            self._tell(Failed(not answer.is_transient, expired, answer.retry_after))
            if self._machine.held is None or not expired:
                _LOG.warning("no access token for %s: %s (%s)", self.request, answer, answer.cause)

    def _settle(self) -> None:
        """Ends the waits that have an outcome."""
        waiting, self._waiting = self._waiting, []
        for rejected, waiter in waiting:
            outcome: Ready | NoToken | None
            if rejected:
                outcome, pending = self._look_past(rejected)
            else:
                outcome = self._look()
                pending = outcome is None
            if pending:
                self._waiting.append((rejected, waiter))
            else:
                waiter(outcome)
