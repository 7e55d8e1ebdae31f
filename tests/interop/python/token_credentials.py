"""Attaches access tokens to gRPC calls. Gets them from a TokenService with the client's secret
(RFC 6749 section 4.4), caches them, and renews them before they expire.

    tokens = TokenCredentials.connect("localhost:8443", "orders", secret, "inventory")
    channel = grpc.secure_channel(target, grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(), grpc.metadata_call_credentials(tokens)))

Works with `grpc` and `grpc.aio`. gRPC refuses call credentials on a plaintext channel. If a call gets no
token, gRPC fails it with UNAVAILABLE. The reason is in the details.
"""

import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from m2m.token.v1 import token_service_pb2, token_service_pb2_grpc

# The time limit of a request to the issuer. It does not depend on the deadline of the call.
FETCH_TIMEOUT_SECONDS = 30


class Instant(NamedTuple):
    """A time on both clocks. The monotonic clock stops while the machine is suspended. The other clock can be
    set. A time is reached once either clock has reached it: it is safer to renew a token too early than to
    use it too late."""

    monotonic: float
    wall: float

    @staticmethod
    def now() -> "Instant":
        return Instant(time.monotonic(), time.time())

    def after(self, seconds: float) -> "Instant":
        return Instant(self.monotonic + seconds, self.wall + seconds)

    def reached(self, other: "Instant") -> bool:
        return self.monotonic >= other.monotonic or self.wall >= other.wall


class Token(NamedTuple):
    header: str
    renew_at: Instant
    expires: Instant


class NoToken(Exception):
    """There is no token. The text is only the issuer's reason (ErrorInfo.reason)."""


class TokenCredentials(grpc.AuthMetadataPlugin):
    """Call credentials for one audience. Safe for concurrent use."""

    def __init__(
        self,
        issue: Callable[[], grpc.Future],
        clock: Callable[[], Instant] = Instant.now,
        jitter: Callable[[], float] = random.random,
    ):
        """`issue` sends one request and returns the future of its IssueTokenResponse; see `connect`."""
        self._issue = issue
        self._clock = clock
        self._jitter = jitter
        self._lock = threading.Lock()
        self._token: Token | None = None  # the newest token, which may have expired
        self._in_flight = False  # True while a request is in flight
        self._waiting: list[Callable] = []  # the calls that wait for the request
        self._failure: NoToken | None = None  # the error of the last request, if it failed
        self._attempts = 0  # failures in a row
        self._retry_at: Instant | None = None  # the time of the next allowed request

    @classmethod
    def connect(
        cls,
        issuer: str,
        client_id: str,
        client_secret: str,
        audience: str,
        scopes: Iterable[str] = (),
        root_certificates: bytes | None = None,
    ) -> "TokenCredentials":
        """Returns credentials from the token service at `issuer` ("host:port"), over TLS.

        Without scopes, requests the client's default scopes. Without roots, trusts gRPC's own. The first call
        fetches the first token.
        """
        channel = grpc.secure_channel(issuer, grpc.ssl_channel_credentials(root_certificates))
        stub = token_service_pb2_grpc.TokenServiceStub(channel)
        request = token_service_pb2.IssueTokenRequest(
            client=token_service_pb2.ClientAuthentication(client_id=client_id, client_secret=client_secret),
            audiences=[audience],
            scopes=scopes,
        )
        return cls(lambda: stub.IssueToken.future(request, timeout=FETCH_TIMEOUT_SECONDS))

    def __call__(self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback) -> None:
        """Passes on the authorization metadata of an unexpired token. Waits for the issuer only if there is none,
        and never on gRPC's thread."""
        with self._lock:
            now = self._clock()
            usable = self._token if self._token and not now.reached(self._token.expires) else None
            due = usable is None or now.reached(usable.renew_at)
            start = due and not self._in_flight and (self._retry_at is None or now.reached(self._retry_at))
            self._in_flight = self._in_flight or start
            wait = usable is None and self._in_flight
            if wait:
                self._waiting.append(callback)
            failure = self._failure
        if usable:
            callback((("authorization", usable.header),), None)
        elif not wait:
            callback((), failure)
        if start:
            self._issue().add_done_callback(lambda answer: self._answered(answer, now))

    def _answered(self, answer: grpc.Future, asked: Instant) -> None:
        token, failure = None, None
        try:
            issued = answer.result().token
            # Both count from before the request, so the time on the network shortens them.
            token = Token(
                "Bearer " + issued.value,
                asked.after(issued.refresh_after.ToTimedelta().total_seconds()),
                asked.after(issued.expires_in.ToTimedelta().total_seconds()),
            )
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            failure, base, limit, at_least = classify(error)
        with self._lock:
            now = self._clock()
            if token:
                self._token, self._failure, self._attempts, self._retry_at = token, None, 0, None
                if now.reached(token.expires):
                    token, failure = None, NoToken("no token: it expired on its way")
            else:
                # Full jitter, so that clients that failed together do not retry together.
                backoff = self._jitter() * min(limit, base * 2 ** min(self._attempts, 16))
                self._failure, self._retry_at = failure, now.after(max(backoff, at_least))
                self._attempts += 1
            self._in_flight = False
            waiting, self._waiting = self._waiting, []
        metadata = (("authorization", token.header),) if token else ()
        for callback in waiting:
            callback(metadata, failure)


def classify(error: Exception) -> tuple[NoToken, float, float, float]:
    """Returns the error for a call, the first and the longest time to wait, and the time that the issuer asked for."""
    code = error.code() if isinstance(error, grpc.Call) else grpc.StatusCode.UNKNOWN
    reason, at_least = code.name, 0.0
    status = rpc_status.from_call(error) if isinstance(error, grpc.Call) else None
    for detail in status.details if status else ():
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info) and info.domain == "m2m.token.v1":
            reason = info.reason
        elif detail.Unpack(retry):
            at_least = retry.retry_delay.ToTimedelta().total_seconds()
    failure = NoToken(f"no token: {reason}")
    if code in (
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.INVALID_ARGUMENT,
    ):
        # The client's registration is wrong until an operator repairs it, so wait for at least a second.
        return failure, 1.0, 60.0, max(at_least, 1.0)
    return failure, 0.1, 30.0, at_least
