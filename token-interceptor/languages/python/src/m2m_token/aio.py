"""Servers and clients of `grpc.aio`."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import grpc
import grpc.aio

from . import _server, answers
from ._aio_calls import UnmarkedCall
from ._client_calls import CODES
from ._unmarked import Unmarked
from .calls import Failure, Obtain, Send, Terms, procedure, refused_stage
from .client import ClientTokens, Reply, ask
from .destinations import check_target
from .errors import Denied
from .keeper import Keeper, NoToken, Ready, Runtime
from .key_sources import KeyOnItsWay
from .layer import Entry, Layer, OnDenied, has_mark, set_caller
from .machine import SECOND, nanoseconds
from .server import Registering
from .verify import TrustedIssuer, Verifier

_Continuation = Callable[[Any], Coroutine[Any, Any, grpc.RpcMethodHandler | None]]


class AuthorizationInterceptor(grpc.aio.ServerInterceptor):
    """The layer as an interceptor, for a server that the program makes itself. It comes first."""

    def __init__(self, layer: Layer | None = None):
        self.layer = layer
        self._guarded = _server.Guarded(_guarded)

    async def intercept_service(
        self, continuation: _Continuation, details: Any
    ) -> grpc.RpcMethodHandler | None:
        """Puts the layer around the handler."""
        if self.layer is None:
            raise RuntimeError("the server was started without m2m_token")
        handler = await continuation(details)
        path = details.method if isinstance(details.method, str) else details.method.decode()
        made: grpc.RpcMethodHandler | None = self._guarded.of(self.layer, path, handler)
        return made


def _guarded(layer: Layer, path: str, handler: grpc.RpcMethodHandler | None) -> grpc.RpcMethodHandler | None:
    if handler is None:
        return None if path in layer.policy.methods else _refusing(layer, path)
    kinds = (
        (handler.unary_unary, _unary, grpc.unary_unary_rpc_method_handler),
        (handler.stream_unary, _stream_unary, grpc.stream_unary_rpc_method_handler),
        (handler.unary_stream, _responses, grpc.unary_stream_rpc_method_handler),
        (handler.stream_stream, _responses, grpc.stream_stream_rpc_method_handler),
    )
    behaviour, wrap, make = next(kind for kind in kinds if kind[0])
    if not (inspect.iscoroutinefunction(behaviour) or inspect.isasyncgenfunction(behaviour)):
        # It runs in a thread, with the context of `grpc`.
        return _server.guarded(layer, path, handler)
    made: grpc.RpcMethodHandler = make(
        wrap(layer, path, behaviour),
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
    return made


def _refusing(layer: Layer, path: str) -> grpc.RpcMethodHandler:
    async def refuse(_: Any, context: Any) -> None:
        await _enter(layer, path, context)
        # Only observe mode gets here. There is no such method.
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

    handler: grpc.RpcMethodHandler = grpc.stream_stream_rpc_method_handler(refuse)
    return handler


async def _enter(layer: Layer, path: str, context: Any) -> Entry:
    values = _server.authorization(context)
    try:
        try:
            entry = layer.enter(path, values, wait=False)
        except KeyOnItsWay:
            entry = await asyncio.to_thread(layer.enter, path, values)
    except Denied as denied:
        await _abort(context, denied, answers.BEFORE_HANDLER, path)
        raise
    set_caller(entry.caller)
    return entry


async def _abort(context: Any, denied: Denied, stage: str, path: str) -> None:
    status = _server.status(denied, stage, path)
    await context.abort(status.code, status.details, status.trailing_metadata)


def _unary(layer: Layer, path: str, behaviour: Any) -> Callable[..., Any]:
    async def serve(request: Any, context: Any) -> Any:
        await _enter(layer, path, context)
        return await behaviour(request, Unmarked(context))

    return serve


def _stream_unary(layer: Layer, path: str, behaviour: Any) -> Callable[..., Any]:
    async def serve(requests: Any, context: Any) -> Any:
        entry = await _enter(layer, path, context)
        call = functools.partial(behaviour, requests, Unmarked(context))
        return await _until_end(layer, path, entry, context, call())

    return serve


def _responses(layer: Layer, path: str, behaviour: Any) -> Callable[..., Any]:
    if not inspect.isasyncgenfunction(behaviour):
        # The handler writes its responses to the context.
        return _stream_unary(layer, path, behaviour)

    async def serve(request: Any, context: Any) -> AsyncIterator[Any]:
        entry = await _enter(layer, path, context)
        responses = behaviour(request, Unmarked(context))
        try:
            while True:
                try:
                    response = await _until_end(layer, path, entry, context, anext(responses))
                except StopAsyncIteration:
                    return
                yield response
        finally:
            await responses.aclose()

    return serve


async def _until_end(
    layer: Layer, path: str, entry: Entry, context: Any, step: Coroutine[Any, Any, Any]
) -> Any:
    """Runs a step of the handler, unless the token ends before."""
    if entry.ends_with is None:
        return await step
    task = asyncio.ensure_future(_step(step))
    try:
        while True:
            doze = layer.look(path, entry)
            done, _ = await asyncio.wait({task}, timeout=doze)
            if done:
                break
    except Denied as denied:
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)
        await _abort(context, denied, answers.AFTER_HANDLER, path)
    except asyncio.CancelledError:
        task.cancel()
        # The handler's generator cannot be closed while it runs.
        await asyncio.wait({task}, timeout=1.0)
        raise
    value, ended = task.result()
    if ended:
        raise StopAsyncIteration
    return value


async def _step(step: Any) -> tuple[Any, bool]:
    # A task cannot raise StopAsyncIteration.
    try:
        return await step, False
    except StopAsyncIteration:
        return None, True


class Server(Registering):
    """A `grpc.aio.Server` that starts only with a policy for each of its methods."""

    async def start(self) -> None:
        """Starts the server. Raises PolicyError, which names every fault."""
        self._protect()
        await self._inner.start()

    async def stop(self, grace: float | None) -> None:
        """Stops the server."""
        self._close()
        await self._inner.stop(grace)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Waits until the server has stopped, as `grpc.aio.Server` does."""
        return bool(await self._inner.wait_for_termination(timeout))


def server(
    *,
    issuers: Sequence[TrustedIssuer],
    public: Sequence[str] = (),
    observe: bool = False,
    on_denied: OnDenied | None = None,
    interceptors: Sequence[Any] = (),
    **options: Any,
) -> Server:
    """Returns a server whose methods demand tokens of these issuers; see `m2m_token.server`."""
    verifier = Verifier(issuers)
    first = AuthorizationInterceptor()
    inner = grpc.aio.server(interceptors=(first, *interceptors), **options)
    return Server(
        inner,
        first,
        lambda policy: Layer(verifier, policy, observe=observe, on_denied=on_denied),
        public,
    )


def secure_channel(
    tokens: ClientTokens,
    target: str,
    credentials: grpc.ChannelCredentials,
    options: Any = None,
    compression: Any = None,
) -> grpc.aio.Channel:
    """Returns a channel of `grpc.aio` whose calls carry tokens."""
    return grpc.aio.secure_channel(target, credentials, options, compression, interceptors(tokens))


def insecure_channel(
    tokens: ClientTokens, target: str, options: Any = None, compression: Any = None
) -> grpc.aio.Channel:
    """Returns a plaintext channel to this machine. Raises PlaintextRefused for another one."""
    check_target(target)
    return grpc.aio.insecure_channel(target, options, compression, interceptors(tokens))


def interceptors(tokens: ClientTokens) -> list[Any]:
    """Returns the interceptors of a channel, one for each kind of method."""
    attach = _Attach(tokens)
    return [_UnaryUnary(attach), _UnaryStream(attach), _StreamUnary(attach), _StreamStream(attach)]


class _Attach:
    """Attaches tokens to calls."""

    def __init__(self, tokens: ClientTokens):
        self._tokens = tokens

    async def call(self, continuation: Any, details: Any, request: Any, unary: bool) -> Any:
        """Sends one call."""
        path = details.method if isinstance(details.method, str) else details.method.decode()
        metadata = tuple(details.metadata or ())
        brought = [value for key, value in metadata if key.lower() == "authorization"]
        carried = self._tokens.carried(path, brought)
        if isinstance(carried, Failure):
            raise _error(carried)
        if carried.drop_header:
            metadata = tuple(entry for entry in metadata if entry[0].lower() != "authorization")
        runtime, keeper = self._tokens.runtime, carried.keeper
        if keeper is None:
            return UnmarkedCall(await continuation(_with(details, metadata, details.timeout), request))
        deadline = None
        if details.timeout is not None:
            deadline = runtime.now().monotonic + nanoseconds(details.timeout)
        terms = Terms(unary and carried.replayable, carried.optional, deadline, self._tokens.wait_max)
        steps = procedure(keeper, path, terms, runtime)
        sent: Any = None
        try:
            step = next(steps)
            while True:
                if isinstance(step, Send):
                    rest = (
                        None if deadline is None else max((deadline - runtime.now().monotonic) / SECOND, 0.0)
                    )
                    attempt = metadata if step.ready is None else (*metadata, *step.ready.metadata)
                    call = await continuation(_with(details, attempt, rest), request)
                    sent = await _reply(call, unary, keeper, step.ready, path)
                else:
                    sent = await _obtain(step, runtime)
                step = steps.send(sent)
        except StopIteration as stop:
            outcome = stop.value
        if isinstance(outcome, Failure):
            raise _error(outcome)
        return await _unmarked(outcome.call) if unary else UnmarkedCall(outcome.call)


async def _unmarked(call: Any) -> Any:
    """Returns a unary call that has ended, or one without marks."""
    marked = has_mark(await call.initial_metadata()) or has_mark(await call.trailing_metadata())
    return UnmarkedCall(call) if marked else call


async def _reply(call: Any, unary: bool, keeper: Keeper, ready: Ready | None, path: str) -> Reply:
    """Waits for the end of a unary call. A stream is watched, and never sent again."""
    if unary:
        return Reply(call, await call.code(), await call.trailing_metadata())
    if ready is None:
        return Reply(call, None, None)

    async def watch() -> None:
        if refused_stage(Reply(call, await call.code(), await call.trailing_metadata()), path) is not None:
            keeper.reject(ready.generation)

    watching = asyncio.ensure_future(watch())
    _WATCHING.add(watching)
    watching.add_done_callback(_WATCHING.discard)
    return Reply(call, None, None)


# The loop itself holds tasks only weakly.
_WATCHING: set[asyncio.Future[None]] = set()


async def _obtain(step: Obtain, runtime: Runtime) -> Ready | NoToken | None:
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[Ready | NoToken | None] = loop.create_future()

    def settle(outcome: Ready | NoToken | None) -> None:
        if not arrived.done():
            arrived.set_result(outcome)

    def waiter(outcome: Ready | NoToken | None) -> None:
        loop.call_soon_threadsafe(settle, outcome)

    ask(step, waiter)
    pause = max(step.until - runtime.now().monotonic, 0) / SECOND
    try:
        return await asyncio.wait_for(arrived, pause)
    except asyncio.TimeoutError:
        return None


def _error(failure: Failure) -> grpc.aio.AioRpcError:
    trailers = failure.answer.trailers() if failure.answer else []
    return grpc.aio.AioRpcError(
        CODES[failure.code], grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), failure.message
    )


def _with(details: Any, metadata: Any, timeout: float | None) -> grpc.aio.ClientCallDetails:
    return grpc.aio.ClientCallDetails(
        details.method, timeout, grpc.aio.Metadata(*metadata), details.credentials, details.wait_for_ready
    )


class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, attach: _Attach):
        self._attach = attach

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await self._attach.call(continuation, details, request, True)


class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, attach: _Attach):
        self._attach = attach

    async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return await self._attach.call(continuation, details, request, False)


class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor):
    def __init__(self, attach: _Attach):
        self._attach = attach

    async def intercept_stream_unary(self, continuation: Any, details: Any, requests: Any) -> Any:
        return await self._attach.call(continuation, details, requests, False)


class _StreamStream(grpc.aio.StreamStreamClientInterceptor):
    def __init__(self, attach: _Attach):
        self._attach = attach

    async def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return await self._attach.call(continuation, details, requests, False)
