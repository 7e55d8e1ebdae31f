"""The calls that a program of `grpc` gets from the layer."""

from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from .calls import Failure
from .keeper import Ready
from .layer import has_mark, without_marks

CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class OverCall(grpc.Call, grpc.Future):
    """A call that has ended."""

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> None:
        return None

    def cancel(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def running(self) -> bool:
        return False

    def done(self) -> bool:
        return True

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        callback(self)


class FailedCall(grpc.RpcError, OverCall):
    """A call that got no token. It is its own outcome and error."""

    def __init__(self, failure: Failure):
        super().__init__(failure.message)
        self._failure = failure

    def code(self) -> grpc.StatusCode:
        return CODES[self._failure.code]

    def details(self) -> str:
        return self._failure.message

    def initial_metadata(self) -> tuple[()]:
        return ()

    def trailing_metadata(self) -> Any:
        return tuple(self._failure.answer.trailers()) if self._failure.answer else ()

    def result(self, timeout: float | None = None) -> Any:
        raise self

    def exception(self, timeout: float | None = None) -> "FailedCall":
        return self

    def traceback(self, timeout: float | None = None) -> Any:
        return self.__traceback__

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        raise self


class UnmarkedCall(grpc.RpcError, grpc.Call, grpc.Future):
    """A call whose metadata have no mark: the program could pass one on as its own.

    Like a call of `grpc`, it is its own error.
    """

    def __init__(self, call: Any):
        super().__init__()
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __str__(self) -> str:
        return str(self._call)

    def __repr__(self) -> str:
        return repr(self._call)

    def initial_metadata(self) -> Any:
        return tuple(without_marks(self._call.initial_metadata()))

    def trailing_metadata(self) -> Any:
        return tuple(without_marks(self._call.trailing_metadata()))

    def code(self) -> Any:
        return self._call.code()

    def details(self) -> Any:
        return self._call.details()

    def is_active(self) -> bool:
        return bool(self._call.is_active())

    def time_remaining(self) -> Any:
        return self._call.time_remaining()

    def cancel(self) -> Any:
        return self._call.cancel()

    def cancelled(self) -> bool:
        return bool(self._call.cancelled())

    def running(self) -> bool:
        return bool(self._call.running())

    def done(self) -> bool:
        return bool(self._call.done())

    def add_callback(self, callback: Callable[[], None]) -> Any:
        return self._call.add_callback(callback)

    def result(self, timeout: float | None = None) -> Any:
        try:
            return self._call.result(timeout)
        except grpc.RpcError:
            raise self from None

    def exception(self, timeout: float | None = None) -> Any:
        error = self._call.exception(timeout)
        return self if isinstance(error, grpc.RpcError) else error

    def traceback(self, timeout: float | None = None) -> Any:
        return self._call.traceback(timeout)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._call.add_done_callback(lambda _: callback(self))

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except grpc.RpcError:
            raise self from None


class AnsweredCall(OverCall):
    """A unary call that has its answer."""

    def __init__(self, response: Any, call: Any):
        self._response = response
        self._call = call

    def initial_metadata(self) -> Any:
        return self._call.initial_metadata()

    def trailing_metadata(self) -> Any:
        return self._call.trailing_metadata()

    def code(self) -> Any:
        return self._call.code()

    def details(self) -> Any:
        return self._call.details()

    def result(self, timeout: float | None = None) -> Any:
        return self._response

    def exception(self, timeout: float | None = None) -> None:
        return None

    def traceback(self, timeout: float | None = None) -> None:
        return None


#: The description of a call, as `grpc` passes it to interceptors.
Details = namedtuple(
    "Details", ("method", "timeout", "metadata", "credentials", "wait_for_ready", "compression")
)


class AttachedUnary(grpc.UnaryUnaryMultiCallable):
    """A unary method, whose calls go through the layer.

    A call that the program waits for does not pass the interceptors of `grpc`, which cost more than the
    layer. If its token is in memory, it is a call of the plain channel with one more entry in its metadata.
    """

    def __init__(self, channel: "AttachedChannel", path: str, plain: Any, intercepted: Any):
        self._in_hand = channel.tokens.in_hand
        self._runtime = channel.tokens.runtime
        self._interceptor = channel.interceptor
        self._path = path
        self._plain = plain
        self._intercepted = intercepted

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> Any:
        ready = self._in_hand(self._path)
        sent = None if ready is None else _with_token(metadata, ready)
        if ready is None or sent is None:
            details = Details(self._path, timeout, metadata, credentials, wait_for_ready, compression)
            return self._interceptor.intercept_unary_unary(self._send, details, request).result()
        began = 0 if timeout is None else self._runtime.now().monotonic
        try:
            return self._plain(request, timeout, sent, credentials, wait_for_ready, compression)
        except grpc.RpcError as error:
            details = Details(self._path, timeout, metadata, credentials, wait_for_ready, compression)
            call = self._interceptor.go_on(self._send, details, request, (ready, error, began))
        return call.result()

    def with_call(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> Any:
        details = Details(self._path, timeout, metadata, credentials, wait_for_ready, compression)
        call = self._interceptor.intercept_unary_unary(self._send, details, request)
        return call.result(), call

    def future(self, *arguments: Any, **options: Any) -> Any:
        return self._intercepted.future(*arguments, **options)

    def _send(self, details: Any, request: Any) -> Any:
        _, timeout, metadata, credentials, wait_for_ready, compression = details
        try:
            answer = self._plain.with_call(
                request, timeout, metadata, credentials, wait_for_ready, compression
            )
        except grpc.RpcError as error:
            return error
        return AnsweredCall(*answer)


def _with_token(metadata: Any, ready: Ready) -> tuple[Any, ...] | None:
    """Returns the metadata and the token; None for metadata that may have an authorization of their own."""
    if metadata is None:
        return ready.metadata
    if not isinstance(metadata, (tuple, list)):
        return None  # it can be read once
    if any(key.lower() == "authorization" for key, _ in metadata):
        return None
    return (*metadata, *ready.metadata)


class AttachedChannel(grpc.Channel):
    """A channel whose calls go through the layer."""

    def __init__(self, channel: grpc.Channel, tokens: Any, interceptor: Any):
        self.tokens = tokens
        self.interceptor = interceptor
        self._plain = channel
        self._intercepted = grpc.intercept_channel(channel, interceptor)

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        plain = self._plain.unary_unary(method, *arguments, **options)
        intercepted = self._intercepted.unary_unary(method, *arguments, **options)
        return AttachedUnary(self, method, plain, intercepted)

    def unary_stream(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._intercepted.unary_stream(method, *arguments, **options)

    def stream_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._intercepted.stream_unary(method, *arguments, **options)

    def stream_stream(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._intercepted.stream_stream(method, *arguments, **options)

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        self._plain.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Any) -> None:
        self._plain.unsubscribe(callback)

    def close(self) -> None:
        self._plain.close()

    def __enter__(self) -> "AttachedChannel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def unmarked(call: Any) -> Any:
    """Returns the call, or one without marks."""
    over = isinstance(call, grpc.Future) and call.done()
    if over and not has_mark(call.initial_metadata()) and not has_mark(call.trailing_metadata()):
        return call
    return UnmarkedCall(call)
