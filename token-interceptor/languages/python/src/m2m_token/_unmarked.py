"""A handler's context without marks: only the layer itself marks an answer."""

from typing import Any

from .layer import without_marks


class Unmarked:
    """A `ServicerContext` of `grpc` or `grpc.aio`, except for the metadata that it sends."""

    __slots__ = ("_inner",)

    def __init__(self, inner: Any):
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Sets the trailing metadata, without marks."""
        self._inner.set_trailing_metadata(tuple(without_marks(trailing_metadata)))

    def send_initial_metadata(self, initial_metadata: Any) -> Any:
        """Sends the initial metadata, without marks."""
        return self._inner.send_initial_metadata(tuple(without_marks(initial_metadata)))

    def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> Any:
        """Ends the call. Only `grpc.aio` takes trailing metadata here."""
        if trailing_metadata:
            return self._inner.abort(code, details, tuple(without_marks(trailing_metadata)))
        return self._inner.abort(code, details)

    def abort_with_status(self, status: Any) -> Any:
        """Ends the call, without marks."""
        trailing_metadata = tuple(without_marks(status.trailing_metadata))
        return self._inner.abort_with_status(Status(status.code, status.details, trailing_metadata))


class Status:
    """What `abort_with_status` takes."""

    def __init__(self, code: Any, details: str, trailing_metadata: Any):
        self.code = code
        self.details = details
        self.trailing_metadata = trailing_metadata
