"""The token of each call, and the procedure of one call.

A call gets a token and is sent. If its token is refused, it gets one new token and is sent once more.

The procedure is a generator. It yields what it waits for, so that `grpc`, `grpc.aio` and tests run the same
one.
"""

import threading
from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from .answers import AFTER_HANDLER, BEFORE_HANDLER, DEADLINE_EXCEEDED, ROWS, UNAUTHENTICATED, Answer
from .errors import ERROR_DOMAIN, RENEWABLE
from .keeper import Keeper, NoToken, Ready, Runtime
from .machine import MILLISECOND, SECOND, nanoseconds
from .policy import Method, Policy, matches
from .source import CAUSE_SENTENCES, Refusal, TokenRequest, TokenSource

#: The longest wait of a call without a deadline for a token, in nanoseconds.
WAIT_MAX = 10 * SECOND
#: The longest wait of a call that may go without its token. A token usually comes much sooner.
OPTIONAL_WAIT_MAX = SECOND
#: The tokens of single calls that are held: those on behalf of callers. The least used are evicted.
OCCASIONAL_MAX = 10_000
# The retry delay for a failure that names none, in seconds.
_RETRY_SOON = 0.1


@dataclass(frozen=True)
class Demand:
    """The needs of one method's calls."""

    #: None: the calls need no token.
    request: TokenRequest | None
    #: True if a call may be sent again after a refusal before its handler ran.
    replayable: bool
    #: True if the method accepts a call without a token too.
    optional: bool = False


class Demands:
    """A map from a method's path to the needs of its calls. A method that it does not know gets no token."""

    def __init__(self, policy: Policy):
        self._demands = {
            path: Demand(
                None if method.requirement is None else _asked_for(method), method.is_unary, method.optional
            )
            for path, method in policy.methods.items()
        }

    def of(self, path: str) -> Demand:
        """Returns the needs of a call."""
        return self._demands.get(path, Demand(None, False))

    def items(self) -> list[tuple[str, Demand]]:
        """Returns the methods and their needs."""
        return list(self._demands.items())

    def share(self, patterns: Sequence[str]) -> None:
        """Makes the named methods share one token for each audience, with the scopes of all of them.

        A name is a path, `/package.Service/Method`, or a prefix and a `*`. Raises ValueError for a name that
        matches no method that demands a token.
        """
        named = self._named(patterns)
        shared: dict[str | None, TokenRequest] = {}
        for request in named.values():
            union = shared.get(request.audience)
            shared[request.audience] = request if union is None else union.union(request)
        for path, request in named.items():
            self._demands[path] = replace(self._demands[path], request=shared[request.audience])

    def never_replay(self, patterns: Sequence[str]) -> None:
        """Forbids that calls of the named methods are sent twice. Names and errors are those of `share`."""
        for path in self._named(patterns):
            self._demands[path] = replace(self._demands[path], replayable=False)

    def _named(self, patterns: Sequence[str]) -> dict[str, TokenRequest]:
        found: dict[str, TokenRequest] = {}
        for pattern in patterns:
            named = {
                path: demand.request
                for path, demand in self._demands.items()
                if demand.request is not None and matches(pattern, path)
            }
            if not named:
                raise ValueError(f"{pattern!r} names no method of the policy that demands a token")
            found.update(named)
        return found


def _asked_for(method: Method) -> TokenRequest:
    """Requests exactly what the method demands. Of alternative scopes it requests only the first."""
    requirement = method.requirement
    assert requirement is not None
    scopes = set(requirement.all_scopes)
    if requirement.any_scopes and not scopes.intersection(requirement.any_scopes):
        scopes.add(requirement.any_scopes[0])
    age = requirement.max_token_age
    return TokenRequest(method.audience, frozenset(scopes), None if age is None else nanoseconds(age))


class Tokens:
    """The tokens of one source: one for each request."""

    def __init__(self, source: TokenSource, runtime: Runtime):
        self._source = source
        self.runtime = runtime
        self._lock = threading.Lock()
        self._standing: dict[TokenRequest, Keeper] = {}
        self._occasional: OrderedDict[TokenRequest, Keeper] = OrderedDict()

    def of(self, request: TokenRequest) -> Keeper:
        """Returns the token of a request."""
        keeper = self._standing.get(request)
        if keeper is not None:
            return keeper
        with self._lock:
            if request.subject is None:
                # A token with a maximum age is renewed only while calls use it: otherwise without end.
                while_used = request.max_age is not None
                return self._standing.setdefault(request, self._keeper(request, while_used))
            keeper = self._occasional.pop(request, None) or self._keeper(request, True)
            self._occasional[request] = keeper
            while len(self._occasional) > OCCASIONAL_MAX:
                self._occasional.popitem(last=False)[1].close()
            return keeper

    def close(self) -> None:
        """Ends the renewal of all tokens."""
        with self._lock:
            for keeper in (*self._standing.values(), *self._occasional.values()):
                keeper.close()

    def _keeper(self, request: TokenRequest, while_used: bool) -> Keeper:
        return Keeper(request, self._source.fetch, self.runtime, while_used)


class Reply(Protocol):
    """The answer of the called server to one attempt."""

    def refusal(self) -> tuple[int, str, str, Sequence[str]]:
        """Returns the status code, the reason and domain of `ErrorInfo`, and the marks."""


@dataclass(frozen=True)
class Obtain:
    """Waits for a token, or for one newer than the rejected generation, up to a monotonic time."""

    keeper: Keeper
    until: int
    rejected: int = 0


@dataclass(frozen=True)
class Send:
    """Sends the call with this token; None: without one."""

    ready: Ready | None


class Terms(NamedTuple):
    """The terms of one call."""

    #: True if the call may be sent again after a refusal before its handler ran.
    replayable: bool
    #: True if the call goes without a token where there is none.
    optional: bool = False
    #: The end of the call, as a monotonic time.
    deadline: int | None = None
    #: The longest wait for a token, in nanoseconds.
    wait_max: int = WAIT_MAX

    def until(self, runtime: Runtime) -> int:
        """Returns the time until which the call waits for a token."""
        wait_max = min(self.wait_max, OPTIONAL_WAIT_MAX) if self.optional else self.wait_max
        patience = runtime.now().monotonic + wait_max
        return patience if self.deadline is None else min(self.deadline, patience)

    def is_over(self, runtime: Runtime) -> bool:
        """Returns true once the deadline has passed."""
        return self.deadline is not None and runtime.now().monotonic >= self.deadline


@dataclass(frozen=True)
class Failure:
    """The outcome of a call that cannot get a token."""

    code: int
    #: None for a deadline, which the program chose.
    answer: Answer | None
    message: str


def refused_stage(reply: Reply, path: str) -> str | None:
    """Returns the stage at which the called server's layer refused the token, if a new one may help.

    Both mark and reason must be present. Any program may write the reason.
    """
    code, reason, domain, marks = reply.refusal()
    if code != UNAUTHENTICATED or len(marks) != 1:
        return None
    stage, _, marked = marks[0].partition(" ")
    if marked != path or domain != ERROR_DOMAIN or reason not in RENEWABLE:
        return None
    return stage if stage in (BEFORE_HANDLER, AFTER_HANDLER) else None


#: What a procedure yields, what it is sent, and what it returns.
Procedure = Generator[Obtain | Send, "Ready | NoToken | Reply | None", "Reply | Failure"]


def procedure(keeper: Keeper, path: str, terms: Terms, runtime: Runtime) -> Procedure:
    """Runs one call.

    `Obtain` is answered with `None` when the time is over. `Send` is answered with the reply.
    """
    ready = keeper.ready()
    if ready is None:
        until = terms.until(runtime)
        outcome = yield Obtain(keeper, until)
        if terms.is_over(runtime) or (outcome is None and until == terms.deadline):
            return deadline_exceeded()
        if isinstance(outcome, Ready):
            ready = outcome
        elif terms.optional:
            reply = yield Send(None)
            assert reply is not None and not isinstance(reply, (Ready, NoToken))
            return reply
        else:
            return no_token(outcome) if isinstance(outcome, NoToken) else too_slow()
    reply = yield Send(ready)
    assert reply is not None and not isinstance(reply, (Ready, NoToken))
    return (yield from after(keeper, path, terms, runtime, (ready, reply)))


def after(keeper: Keeper, path: str, terms: Terms, runtime: Runtime, first: tuple[Ready, Reply]) -> Procedure:
    """Runs the part of a call after its first reply: a refused token is replaced, and the call sent again."""
    ready, reply = first
    stage = refused_stage(reply, path)
    if stage is None:
        return reply
    if stage != BEFORE_HANDLER or not terms.replayable:
        keeper.reject(ready.generation)
        return reply
    newer = yield Obtain(keeper, terms.until(runtime), ready.generation)
    # A source that returns the same token again has no better one.
    if not isinstance(newer, Ready) or newer.value == ready.value or terms.is_over(runtime):
        return reply
    second = yield Send(newer)
    assert second is not None and not isinstance(second, (Ready, NoToken))
    if refused_stage(second, path) is not None:
        keeper.reject(newer.generation)
    return second


_REFUSED: dict[Refusal, tuple[str, str]] = {
    "client_authentication": (
        "CLIENT_AUTHENTICATION_FAILED",
        "the issuer refused this client's credentials (invalid_client)",
    ),
    "client_not_authorized": (
        "CLIENT_NOT_AUTHORIZED",
        "the issuer does not let this client use this grant (unauthorized_client)",
    ),
    "scope": (
        "SCOPE_INSUFFICIENT",
        "the issuer does not grant this client the scopes that the method demands (invalid_scope)",
    ),
    "target": (
        "CLIENT_NOT_AUTHORIZED",
        "the issuer does not grant this client the audience that the method demands (invalid_target)",
    ),
    "grant": ("INVALID_GRANT", "the issuer refused the token to be exchanged (invalid_grant)"),
    "token": (
        "CLIENT_AUTHENTICATION_FAILED",
        "the token that was provided for this program cannot be used",
    ),
    "request": (
        "PRECONDITION_FAILED",
        "the issuer does not understand this client's request for a token; its answer is in the log",
    ),
}


def no_token(failure: NoToken) -> Failure:
    """An outage of the issuer reads UNAVAILABLE, a configuration fault its own code."""
    error, request = failure.error, failure.request
    metadata = {}
    if request.audience is not None:
        metadata["audience"] = request.audience
    if request.scopes:
        metadata["scope"] = request.scope_parameter
    if error.refusal is not None:
        reason, sentence = _REFUSED[error.refusal]
        return failed(Answer(reason, sentence, metadata, about=str(request)))
    retry_after = max(failure.retry_in, MILLISECOND) / SECOND
    metadata["cause"] = error.cause
    return failed(
        Answer("ISSUER_UNAVAILABLE", CAUSE_SENTENCES[error.cause], metadata, retry_after, str(request))
    )


def too_slow() -> Failure:
    """The source took longer than a call may wait."""
    sentence = "the issuer of access tokens did not answer in time"
    return failed(Answer("ISSUER_UNAVAILABLE", sentence, retry_after=_RETRY_SOON))


def deadline_exceeded() -> Failure:
    """The call's own deadline passed. The only failure without a reason, as the caller chose the deadline."""
    message = "the deadline passed while the access token was being obtained"
    return Failure(DEADLINE_EXCEEDED, None, message)


def no_caller() -> Failure:
    """The program calls on behalf of callers, and there is no caller."""
    return failed(
        Answer("PRECONDITION_FAILED", "this channel calls on behalf of a caller, and there is none")
    )


def failed(answer: Answer) -> Failure:
    """Returns the failure with an answer."""
    return Failure(ROWS[answer.reason][0], answer, answer.message)
