"""The client side: every call carries the token that its method demands, as the annotations say.

A channel of `ClientTokens` attaches tokens, renews them in the background, and sends a unary call once
more, with a new token, when the called server's own layer refused the old one before the handler. The
audience and the scopes of a call come from the linked-in descriptors.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool

from . import answers
from ._client_calls import AttachedChannel, Details, FailedCall, unmarked
from .bearer import bearer
from .calls import (
    WAIT_MAX,
    Demand,
    Demands,
    Failure,
    Obtain,
    Send,
    Terms,
    Tokens,
    after,
    failed,
    no_caller,
    no_token,
    procedure,
    refused_stage,
    too_slow,
)
from .destinations import check_target
from .errors import Denied
from .keeper import Keeper, NoToken, Ready, Runtime, ThreadRuntime
from .layer import current_caller
from .machine import SECOND, nanoseconds
from .policy import Policy
from .source import TokenRequest, TokenSource
from .sources import error_details


class LinkedDemands(Demands):
    """The demands of every service that the program has linked in. A service is read at its first call."""

    def __init__(self) -> None:
        super().__init__(Policy(()))
        self._known: set[str] = set()

    def of(self, path: str) -> Demand:
        """Returns the needs of a call."""
        demand = self._demands.get(path)
        if demand is None:
            self._link(path)
            demand = super().of(path)
        return demand

    def _named(self, patterns: Sequence[str]) -> dict[str, TokenRequest]:
        for pattern in patterns:
            self._link(pattern)
        return super()._named(patterns)

    def _link(self, path: str) -> None:
        service = path.removeprefix("/").partition("/")[0]
        if service in self._known:
            return
        self._known.add(service)
        try:
            described = descriptor_pool.Default().FindServiceByName(service)
        except KeyError:
            return
        file = descriptor_pb2.FileDescriptorProto()
        described.file.CopyToProto(file)
        for added, demand in Demands(Policy.of_everything([file])).items():
            self._demands.setdefault(added, demand)


class Carried(NamedTuple):
    """The treatment of one call: its token, or its own metadata unchanged."""

    keeper: Keeper | None
    replayable: bool = False
    #: True if the call goes without a token where there is none.
    optional: bool = False
    #: True if the call brought its caller's token, which is never passed on.
    drop_header: bool = False


#: The token of a call that carries none.
_NOTHING = Ready("", 0, ())


class ClientTokens:
    """The tokens of a program. Its channels share them. Safe for concurrent use."""

    def __init__(
        self,
        source: TokenSource,
        *,
        on_behalf_of_caller: bool = False,
        wait_max: float = WAIT_MAX / SECOND,
        runtime: Runtime | None = None,
    ):
        """`on_behalf_of_caller`: each call is on behalf of the caller whom the program serves.

        It gets a token in exchange for the caller's, so the source is `TokenExchange`. A call without a
        caller fails. `wait_max`: the longest wait of a call for a token, besides its own deadline, in
        seconds.
        """
        self.runtime = runtime or ThreadRuntime()
        self.wait_max = nanoseconds(wait_max)
        self._tokens = Tokens(source, self.runtime)
        self._demands = LinkedDemands()
        self._on_behalf = on_behalf_of_caller
        # The tokens of the methods that were called; None: a method that needs none.
        self._keepers: dict[str, Keeper | None] = {}

    def share(self, *methods: str) -> None:
        """Makes the named methods share one token for each audience, with the scopes of all of them.

        A name is a path, `/package.Service/Method`, or a prefix and a `*`. By default each method has its own
        request, so that a token that leaks from a read cannot write. Raises ValueError for an unknown name.
        """
        self._demands.share(methods)
        self._keepers = {}

    def never_replay(self, *methods: str) -> None:
        """Forbids that calls of the named methods are sent twice. Names and errors are those of `share`."""
        self._demands.never_replay(methods)

    def secure_channel(
        self, target: str, credentials: grpc.ChannelCredentials, options: Any = None, compression: Any = None
    ) -> grpc.Channel:
        """Returns a channel of `grpc` whose calls carry tokens."""
        channel = grpc.secure_channel(target, credentials, options, compression)
        return AttachedChannel(channel, self, Interceptor(self))

    def insecure_channel(self, target: str, options: Any = None, compression: Any = None) -> grpc.Channel:
        """Returns a plaintext channel to this machine. Raises PlaintextRefused for another one."""
        check_target(target)
        channel = grpc.insecure_channel(target, options, compression)
        return AttachedChannel(channel, self, Interceptor(self))

    def call_credentials(self) -> grpc.CallCredentials:
        """Returns call credentials, for a channel of the program's own. gRPC sends them over TLS only.

        They send no call twice. gRPC gives a call that found no token the code UNAVAILABLE, for any reason.
        """
        return grpc.metadata_call_credentials(_Plugin(self), name="m2m-token")

    def close(self) -> None:
        """Ends the renewal of the tokens."""
        self._tokens.close()

    def in_hand(self, path: str) -> Ready | None:
        """Returns the token of a call that brings no authorization. Never waits.

        None: `carried` finds out.
        """
        keeper = self._keepers.get(path)
        if keeper is not None:
            return keeper.ready()
        return _NOTHING if path in self._keepers else None

    def carried(self, path: str, authorization: Sequence[str | bytes]) -> Carried | Failure:
        """Returns the treatment of a call that brings these values of `authorization`."""
        keepers = self._keepers
        caller = current_caller()
        drop_header = False
        if authorization:
            try:
                drop_header = caller is not None and bearer(authorization) == caller.bearer
            except Denied:
                drop_header = False
            if not drop_header and self._on_behalf:
                sentence = (
                    "the call brings an authorization header of its own, on behalf of a caller: remove it"
                )
                return failed(answers.Answer("PRECONDITION_FAILED", sentence))
            if not drop_header:
                return Carried(None)
        demand = self._demands.of(path)
        request = demand.request
        if request is None:
            keepers[path] = None
            return Carried(None, drop_header=drop_header)
        if self._on_behalf:
            if caller is None:
                return Carried(None, drop_header=drop_header) if demand.optional else no_caller()
            request = TokenRequest(request.audience, request.scopes, request.max_age, caller.bearer)
        keeper = self._tokens.of(request)
        if not self._on_behalf:
            keepers[path] = keeper
        return Carried(keeper, demand.replayable, demand.optional, drop_header)


class Reply:
    """The answer of the called server, as its code and trailers say."""

    def __init__(self, call: Any, code: grpc.StatusCode | None, metadata: Any):
        self.call = call
        self._code = 0 if code is None else code.value[0]
        self._metadata = metadata

    def refusal(self) -> tuple[int, str, str, Sequence[str]]:
        """Returns the status code, the reason and domain of `ErrorInfo`, and the marks."""
        # Almost every call succeeds, and its metadata do not matter here.
        marks = [value for key, value in self._metadata or () if key == answers.MARK] if self._code else ()
        if not marks:
            return self._code, "", "", ()
        reason, domain, _ = error_details(self._metadata)
        return self._code, reason, domain, marks


class Interceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Attaches tokens to the calls of a channel of `grpc`."""

    def __init__(self, tokens: ClientTokens):
        self._tokens = tokens

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return self._intercept(continuation, details, request, True)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return self._intercept(continuation, details, request, False)

    def intercept_stream_unary(self, continuation: Any, details: Any, requests: Any) -> Any:
        return self._intercept(continuation, details, requests, False)

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return self._intercept(continuation, details, requests, False)

    def _intercept(self, continuation: Any, details: Any, request: Any, unary: bool) -> Any:
        metadata = tuple(details.metadata or ())
        brought = [value for key, value in metadata if key.lower() == "authorization"]
        carried = self._tokens.carried(details.method, brought)
        if isinstance(carried, Failure):
            return FailedCall(carried)
        if carried.drop_header:
            metadata = tuple(entry for entry in metadata if entry[0].lower() != "authorization")
        if carried.keeper is None:
            return unmarked(continuation(_with(details, metadata, details.timeout), request))
        runtime = self._tokens.runtime
        terms = self._terms(carried, unary, details.timeout, runtime.now().monotonic)
        call = _Call(carried.keeper, runtime, terms, continuation, details, metadata, request)
        return call.run(procedure(carried.keeper, details.method, terms, runtime))

    def go_on(self, continuation: Any, details: Any, request: Any, first: tuple[Ready, Any, int]) -> Any:
        """Returns the call after its first attempt has failed.

        `first` has the token of the attempt, its error, and the time of its start.
        """
        ready, error, began = first
        reply = Reply(error, error.code(), error.trailing_metadata())
        if not ready.metadata or refused_stage(reply, details.method) is None:
            return unmarked(error)
        carried = self._tokens.carried(details.method, ())
        if isinstance(carried, Failure) or carried.keeper is None:
            return unmarked(error)
        runtime = self._tokens.runtime
        terms = self._terms(carried, True, details.timeout, began)
        metadata = tuple(details.metadata or ())
        call = _Call(carried.keeper, runtime, terms, continuation, details, metadata, request)
        return call.run(after(carried.keeper, details.method, terms, runtime, (ready, reply)))

    def _terms(self, carried: Carried, unary: bool, timeout: float | None, began: int) -> Terms:
        deadline = None if timeout is None else began + nanoseconds(timeout)
        return Terms(unary and carried.replayable, carried.optional, deadline, self._tokens.wait_max)


class _Call(NamedTuple):
    """One call, in the thread of the program."""

    keeper: Keeper
    runtime: Runtime
    terms: Terms
    continuation: Any
    details: Any
    metadata: tuple[Any, ...]
    request: Any

    def run(self, steps: Any) -> Any:
        """Runs the steps, and returns the call that the program gets."""
        outcome = _run(steps, self._send, self.runtime)
        return FailedCall(outcome) if isinstance(outcome, Failure) else unmarked(outcome.call)

    def _send(self, ready: Ready | None) -> Reply:
        deadline, path = self.terms.deadline, self.details.method
        rest = None if deadline is None else max((deadline - self.runtime.now().monotonic) / SECOND, 0.0)
        attempt = self.metadata if ready is None else (*self.metadata, *ready.metadata)
        call = self.continuation(_with(self.details, attempt, rest), self.request)
        if isinstance(call, grpc.Future) and not call.done():
            # A stream, or a call that the program does not wait for here: it is never sent again.
            if ready is not None:
                call.add_done_callback(lambda done: _reject(self.keeper, ready.generation, path, done))
            return Reply(call, None, None)
        return Reply(call, call.code(), call.trailing_metadata())


def _reject(keeper: Keeper, generation: int, path: str, call: Any) -> None:
    if refused_stage(Reply(call, call.code(), call.trailing_metadata()), path) is not None:
        keeper.reject(generation)


def _with(details: Any, metadata: Any, timeout: float | None) -> Details:
    compression = getattr(details, "compression", None)
    return Details(
        details.method, timeout, metadata, details.credentials, details.wait_for_ready, compression
    )


def _run(steps: Any, send: Callable[[Ready | None], Reply], runtime: Runtime) -> Any:
    """Runs a procedure in the calling thread."""
    sent: Any = None
    try:
        step = next(steps)
        while True:
            if isinstance(step, Send):
                sent = send(step.ready)
            else:
                sent = _obtain(step, runtime)
            step = steps.send(sent)
    except StopIteration as stop:
        return stop.value


def _obtain(step: Obtain, runtime: Runtime) -> Ready | NoToken | None:
    arrived = threading.Event()
    outcomes: list[Ready | NoToken | None] = []

    def waiter(outcome: Ready | NoToken | None) -> None:
        outcomes.append(outcome)
        arrived.set()

    ask(step, waiter)
    arrived.wait(max(step.until - runtime.now().monotonic, 0) / SECOND)
    return outcomes[0] if outcomes else None


def ask(step: Obtain, waiter: Callable[[Ready | NoToken | None], None]) -> None:
    """Registers the waiter of a step."""
    if step.rejected:
        step.keeper.replace(step.rejected, waiter)
    else:
        step.keeper.obtain(waiter)


class _Plugin(grpc.AuthMetadataPlugin):
    """The tokens as call credentials."""

    def __init__(self, tokens: ClientTokens):
        self._tokens = tokens

    def __call__(self, context: Any, callback: Any) -> None:
        path = f"{urlsplit(context.service_url).path}/{context.method_name}"
        carried = self._tokens.carried(path, ())
        if isinstance(carried, Failure):
            callback((), FailedCall(carried))
            return
        keeper = carried.keeper
        ready = _NOTHING if keeper is None else keeper.ready()
        if keeper is None or ready is not None:
            callback(ready.metadata if ready else (), None)
            return
        runtime = self._tokens.runtime
        over = threading.Lock()

        def once(outcome: Ready | NoToken | None) -> None:
            if not over.acquire(blocking=False):
                return
            cancel()
            if isinstance(outcome, Ready):
                callback(outcome.metadata, None)
            elif carried.optional:
                callback((), None)
            else:
                failure = too_slow() if outcome is None else no_token(outcome)
                callback((), FailedCall(failure))

        until = Terms(False, carried.optional, wait_max=self._tokens.wait_max).until(runtime)
        cancel = runtime.call_at(until, lambda: once(None))
        keeper.obtain(once)
