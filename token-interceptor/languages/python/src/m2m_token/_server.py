"""The server layer of `grpc`: the decision on each call, and streams that end with their token.

A call that may outlive its token runs in a thread of its own, while the server's thread watches the token.
"""

import contextvars
import functools
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc

from . import answers
from ._unmarked import Status, Unmarked
from .errors import Denied
from .layer import Entry, Layer, refusal_trailers, set_caller

CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def status(denied: Denied, stage: str, path: str) -> Status:
    """Returns the status of a refusal."""
    answer = answers.Answer.of(denied)
    return Status(CODES[answer.code], answer.message, tuple(refusal_trailers(denied, stage, path)))


def authorization(context: Any) -> list[str | bytes]:
    """Returns the values of the `authorization` metadata."""
    return [value for key, value in context.invocation_metadata() or () if key == "authorization"]


class Guarded:
    """The guarded handlers of a server, so that a call does not make its own."""

    def __init__(self, make: Callable[[Layer, str, Any], Any]):
        self._make = make
        self._known: dict[str, tuple[Layer, Any, Any]] = {}

    def of(self, layer: Layer, path: str, handler: Any) -> Any:
        """Returns the handler behind the layer."""
        known = self._known.get(path)
        if known is not None and known[0] is layer and known[1] is handler:
            return known[2]
        made = self._make(layer, path, handler)
        # Only paths of the policy: a client may call any other, and there is no end to them.
        if handler is not None and path in layer.policy.methods:
            self._known[path] = (layer, handler, made)
        return made


def guarded(layer: Layer, path: str, handler: grpc.RpcMethodHandler | None) -> grpc.RpcMethodHandler | None:
    """Returns the handler behind the layer. A path without a policy is refused, with a handler or without."""
    if handler is None:
        return None if path in layer.policy.methods else _refusing(layer, path)
    behaviour: Any
    if handler.request_streaming and handler.response_streaming:
        behaviour, make = (
            _stream_stream(layer, path, handler.stream_stream),
            grpc.stream_stream_rpc_method_handler,
        )
    elif handler.request_streaming:
        behaviour, make = (
            _stream_unary(layer, path, handler.stream_unary),
            grpc.stream_unary_rpc_method_handler,
        )
    elif handler.response_streaming:
        behaviour, make = (
            _unary_stream(layer, path, handler.unary_stream),
            grpc.unary_stream_rpc_method_handler,
        )
    else:
        behaviour, make = _unary_unary(layer, path, handler.unary_unary), grpc.unary_unary_rpc_method_handler
    # The server picks the thread pool by an attribute of the behaviour.
    pool = getattr(_behaviour(handler), "experimental_thread_pool", None)
    if pool is not None:
        behaviour.experimental_thread_pool = pool
    made: grpc.RpcMethodHandler = make(
        behaviour,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
    return made


def _behaviour(handler: grpc.RpcMethodHandler) -> Any:
    behaviours = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    return next(behaviour for behaviour in behaviours if behaviour)


def _refusing(layer: Layer, path: str) -> grpc.RpcMethodHandler:
    def refuse(requests: Any, context: Any) -> Iterator[Any]:
        entry = _enter(layer, path, context)
        # Only observe mode gets here. There is no such method.
        assert entry is not None
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        yield

    handler: grpc.RpcMethodHandler = grpc.stream_stream_rpc_method_handler(refuse)
    return handler


def _enter(layer: Layer, path: str, context: Any) -> Entry:
    try:
        entry = layer.enter(path, authorization(context))
    except Denied as denied:
        context.abort_with_status(status(denied, answers.BEFORE_HANDLER, path))
        raise
    set_caller(entry.caller)
    return entry


def _unary_unary(layer: Layer, path: str, behaviour: Any) -> Callable[..., Any]:
    def serve(request: Any, context: Any) -> Any:
        _enter(layer, path, context)
        return behaviour(request, Unmarked(context))

    return serve


def _unary_stream(layer: Layer, path: str, behaviour: Any) -> Callable[..., Any]:
    def serve(request: Any, context: Any) -> Iterator[Any]:
        entry = _enter(layer, path, context)
        call = functools.partial(behaviour, request, Unmarked(context))
        if entry.ends_with is None:
            return iter(call())
        return _Watch(layer, path, entry, context).responses(call)

    return serve


def _stream_unary(layer: Layer, path: str, behaviour: Any) -> Callable[..., Any]:
    def serve(requests: Any, context: Any) -> Any:
        entry = _enter(layer, path, context)
        if entry.ends_with is None:
            return behaviour(requests, Unmarked(context))
        watch = _Watch(layer, path, entry, context)
        return watch.response(functools.partial(behaviour, watch.requests(requests), Unmarked(context)))

    return serve


def _stream_stream(layer: Layer, path: str, behaviour: Any) -> Callable[..., Any]:
    def serve(requests: Any, context: Any) -> Iterator[Any]:
        entry = _enter(layer, path, context)
        if entry.ends_with is None:
            return iter(behaviour(requests, Unmarked(context)))
        watch = _Watch(layer, path, entry, context)
        return watch.responses(functools.partial(behaviour, watch.requests(requests), Unmarked(context)))

    return serve


class _Watch:
    """One call that ends with its token."""

    # The longest time for which the handler's thread waits before it looks if the call is over, in seconds.
    _LOOK = 0.5

    def __init__(self, layer: Layer, path: str, entry: Entry, context: Any):
        self._layer = layer
        self._path = path
        self._entry = entry
        self._context = context
        self._look_at = 0.0
        self._over = threading.Event()
        self._denied: Denied | None = None
        # One response waits at most, so that the handler is not ahead of the client.
        self._outcomes: queue.Queue[tuple[str, Any]] = queue.Queue(1)
        context.add_callback(self._over.set)

    def responses(self, call: Callable[[], Iterable[Any]]) -> Iterator[Any]:
        """Returns the handler's responses up to the end of the token."""

        def produce() -> None:
            responses = iter(call())
            try:
                for response in responses:
                    if not self._put("response", response):
                        return
            finally:
                close = getattr(responses, "close", None)
                if close is not None:
                    close()
            self._put("end", None)

        self._start(produce)
        try:
            while True:
                kind, value = self._next()
                if kind == "end":
                    return
                if kind == "error":
                    raise value
                yield value
        finally:
            self._over.set()

    def response(self, call: Callable[[], Any]) -> Any:
        """Returns the handler's one response, unless the token ends before."""
        self._start(lambda: self._put("response", call()))
        try:
            kind, value = self._next()
            if kind == "error":
                raise value
            return value
        finally:
            self._over.set()

    def requests(self, requests: Iterable[Any]) -> Iterator[Any]:
        """Returns the client's requests up to the end of the token."""
        for request in requests:
            if self._denied is not None:
                raise self._denied
            yield request

    def _start(self, work: Callable[[], object]) -> None:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                self._put("error", error)

        context = contextvars.copy_context()
        threading.Thread(target=lambda: context.run(run), name="m2m-token stream", daemon=True).start()

    def _put(self, kind: str, value: Any) -> bool:
        """Returns False if the call is over."""
        while not self._over.is_set():
            try:
                self._outcomes.put((kind, value), timeout=self._LOOK)
                return True
            except queue.Full:
                continue
        return False

    def _next(self) -> tuple[str, Any]:
        while True:
            pause = self._look_at - time.monotonic()
            if pause <= 0:
                self._look()
                continue
            try:
                return self._outcomes.get(timeout=pause)
            except queue.Empty:
                if self._over.is_set():
                    return "end", None

    def _look(self) -> None:
        """Ends the call if its token has ended."""
        try:
            self._look_at = time.monotonic() + self._layer.look(self._path, self._entry)
        except Denied as denied:
            self._denied = denied
            self._context.abort_with_status(status(denied, answers.AFTER_HANDLER, self._path))
