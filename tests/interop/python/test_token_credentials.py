"""The behaviour of the call credentials, with a fake issuer and a stopped clock."""

import concurrent.futures
import threading

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from m2m.token.v1 import token_service_pb2
from token_credentials import Instant, TokenCredentials


class Failed(grpc.RpcError, grpc.Call):
    """A failed call, as the gRPC library returns it. Only the methods that the credentials use are present."""

    def __init__(self, code, *details):
        packed = [any_pb2.Any() for _ in details]
        for detail, any_ in zip(details, packed):
            any_.Pack(detail)
        self._status = rpc_status.to_status(
            status_pb2.Status(code=code.value[0], message="words of the issuer", details=packed)
        )

    def code(self):
        return self._status.code

    def details(self):
        return self._status.details

    def trailing_metadata(self):
        return self._status.trailing_metadata


Failed.__abstractmethods__ = frozenset()


class World:
    def __init__(self):
        self.now = Instant(0.0, 1_795_000_000.0)
        self.requests: list[concurrent.futures.Future] = []
        self.asked = 0
        self.issued = 0
        self.jitter = 1.0
        self.credentials = TokenCredentials(self.issue, lambda: self.now, lambda: self.jitter)

    def issue(self):
        self.asked += 1
        future = concurrent.futures.Future()
        self.requests.append(future)
        return future

    def advance(self, seconds):
        self.now = self.now.after(seconds)

    def set_clock(self, seconds):
        self.now = self.now._replace(wall=self.now.wall + seconds)

    def call(self):
        """Starts one call. Returns a list that gets the header or the failure."""
        outcome = []
        self.credentials(None, lambda metadata, error: outcome.append(error or dict(metadata)["authorization"]))
        return outcome

    def answer(self, failure=None):
        request = self.requests.pop(0)
        if failure:
            request.set_exception(failure)
            return
        self.issued += 1
        token = token_service_pb2.Token(
            value=f"token-{self.issued}",
            expires_in=duration_pb2.Duration(seconds=300),
            refresh_after=duration_pb2.Duration(seconds=240),
        )
        request.set_result(token_service_pb2.IssueTokenResponse(token=token))

    def assert_failed(self, outcome, words):
        [error] = outcome
        assert isinstance(error, Exception) and words in str(error)


@pytest.fixture
def world():
    return World()


@pytest.fixture
def ready():
    """Returns credentials with their first token."""
    world = World()
    outcome = world.call()
    world.answer()
    assert outcome == ["Bearer token-1"]
    return world


UNAVAILABLE = Failed(grpc.StatusCode.UNAVAILABLE)


def test_many_first_calls_share_one_request(world):
    outcomes = [None] * 100
    threads = [threading.Thread(target=lambda i=i: outcomes.__setitem__(i, world.call())) for i in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert world.asked == 1
    world.answer()
    assert outcomes == [["Bearer token-1"]] * 100


def test_many_first_calls_share_one_failure(world):
    outcomes = [world.call() for _ in range(100)]
    world.answer(UNAVAILABLE)
    assert world.asked == 1
    for outcome in outcomes:
        world.assert_failed(outcome, "UNAVAILABLE")


def test_renews_in_the_background_without_delaying_a_call(ready):
    ready.advance(239)
    assert ready.call() == ["Bearer token-1"]
    assert ready.asked == 1
    ready.advance(1)
    assert [ready.call() for _ in range(100)] == [["Bearer token-1"]] * 100
    assert ready.asked == 2
    ready.answer()
    assert ready.call() == ["Bearer token-2"]
    assert ready.asked == 2


def test_serves_a_token_until_it_expires_while_the_issuer_is_down(ready):
    ready.advance(240)
    assert ready.call() == ["Bearer token-1"]
    ready.answer(UNAVAILABLE)
    ready.advance(59.9)
    assert ready.call() == ["Bearer token-1"]
    ready.answer(UNAVAILABLE)
    ready.advance(0.1)
    ready.assert_failed(ready.call(), "UNAVAILABLE")


def test_never_uses_a_token_past_its_expiry_after_a_suspend(ready):
    ready.set_clock(2 * 3600)
    outcome = ready.call()
    assert outcome == []
    ready.answer()
    assert outcome == ["Bearer token-2"]


def test_never_uses_a_token_past_its_expiry_when_the_clock_is_set_back(ready):
    ready.set_clock(-86400)
    ready.advance(300)
    outcome = ready.call()
    assert outcome == []
    ready.answer()
    assert outcome == ["Bearer token-2"]


def test_a_token_that_expired_on_its_way_is_not_used(world):
    outcome = world.call()
    world.advance(301)
    world.answer()
    world.assert_failed(outcome, "expired on its way")


def test_a_failure_is_remembered_for_the_backoff_and_no_longer(world):
    for asked, backoff in enumerate((0.1, 0.2, 0.4), start=1):
        outcome = world.call()
        assert world.asked == asked
        world.answer(UNAVAILABLE)
        world.assert_failed(outcome, "UNAVAILABLE")
        world.advance(backoff - 0.001)
        world.assert_failed(world.call(), "UNAVAILABLE")
        assert world.asked == asked
        world.advance(0.0011)
    outcome = world.call()
    world.answer()
    assert outcome == ["Bearer token-1"]


def test_backoff_ends_at_thirty_seconds(world):
    for _ in range(70):
        world.advance(30)
        world.call()
        world.answer(UNAVAILABLE)
    assert world.asked == 70


def test_backoff_begins_anew_after_a_token(world):
    for _ in range(5):
        world.call()
        world.answer(UNAVAILABLE)
        world.advance(30)
    world.call()
    world.answer()
    world.advance(300)
    world.call()
    world.answer(UNAVAILABLE)
    world.advance(0.1001)
    assert world.call() == []
    assert world.asked == 8


def test_honours_retry_info(world):
    world.call()
    retry = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=7))
    world.answer(Failed(grpc.StatusCode.RESOURCE_EXHAUSTED, retry))
    world.advance(6.999)
    world.assert_failed(world.call(), "RESOURCE_EXHAUSTED")
    world.advance(0.0011)
    assert world.call() == []
    assert world.asked == 2


def test_a_wrong_secret_is_named_and_remembered_for_a_second(world):
    world.jitter = 0.0
    outcome = world.call()
    info = error_details_pb2.ErrorInfo(domain="m2m.token.v1", reason="CLIENT_AUTHENTICATION_FAILED")
    world.answer(Failed(grpc.StatusCode.UNAUTHENTICATED, info))
    world.assert_failed(outcome, "CLIENT_AUTHENTICATION_FAILED")
    world.advance(0.999)
    world.assert_failed(world.call(), "CLIENT_AUTHENTICATION_FAILED")
    world.advance(0.0011)
    assert world.call() == []


def test_the_issuers_words_are_not_passed_on(world):
    outcome = world.call()
    world.answer(UNAVAILABLE)
    assert "words of the issuer" not in str(outcome[0])


def test_a_plaintext_channel_refuses_the_credentials(ready):
    served = []
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    answer = grpc.unary_unary_rpc_method_handler(lambda request, context: served.append(request) or b"")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("any.Service", {"Method": answer}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    credentials = grpc.metadata_call_credentials(ready.credentials)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_unary("/any.Service/Method")
        method(b"", timeout=10)
        with pytest.raises(grpc.RpcError):
            method(b"", credentials=credentials, timeout=10)
    server.stop(None)
    assert len(served) == 1


def test_prints_neither_secret_nor_token(ready):
    assert "token-1" not in repr(ready.credentials)
