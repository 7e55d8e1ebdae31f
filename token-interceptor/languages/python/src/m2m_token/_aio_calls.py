"""The calls that a program of `grpc.aio` gets from the layer."""

from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import grpc
import grpc.aio

from .layer import without_marks


class UnmarkedCall(
    grpc.aio.UnaryUnaryCall, grpc.aio.UnaryStreamCall, grpc.aio.StreamUnaryCall, grpc.aio.StreamStreamCall
):
    """A call of any kind whose metadata have no mark: the program could pass one on as its own."""

    def __init__(self, call: Any):
        self._call = call

    async def initial_metadata(self) -> grpc.aio.Metadata:
        return _unmarked(await self._call.initial_metadata())

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        return _unmarked(await self._call.trailing_metadata())

    async def code(self) -> Any:
        return await self._call.code()

    async def details(self) -> Any:
        return await self._call.details()

    async def debug_error_string(self) -> Any:
        return await self._call.debug_error_string()

    async def wait_for_connection(self) -> None:
        try:
            await self._call.wait_for_connection()
        except grpc.aio.AioRpcError as error:
            raise _unmarked_error(error) from None

    def cancelled(self) -> bool:
        return bool(self._call.cancelled())

    def done(self) -> bool:
        return bool(self._call.done())

    def time_remaining(self) -> Any:
        return self._call.time_remaining()

    def cancel(self) -> bool:
        return bool(self._call.cancel())

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._call.add_done_callback(lambda _: callback(self))

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            return (yield from self._call.__await__())
        except grpc.aio.AioRpcError as error:
            raise _unmarked_error(error) from None

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for response in self._call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise _unmarked_error(error) from None

    async def read(self) -> Any:
        try:
            return await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise _unmarked_error(error) from None

    async def write(self, request: Any) -> None:
        try:
            await self._call.write(request)
        except grpc.aio.AioRpcError as error:
            raise _unmarked_error(error) from None

    async def done_writing(self) -> None:
        await self._call.done_writing()


def _unmarked(metadata: Any) -> grpc.aio.Metadata:
    return grpc.aio.Metadata(*without_marks(metadata))


def _unmarked_error(error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        error.code(),
        _unmarked(error.initial_metadata()),
        _unmarked(error.trailing_metadata()),
        error.details(),
        error.debug_error_string(),
    )
