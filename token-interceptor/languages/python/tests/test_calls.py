"""The layers of both ends over a real connection, of `grpc` and of `grpc.aio`."""

import asyncio
import json
import threading
import time
from concurrent import futures
from types import SimpleNamespace

import grpc
import grpc.aio
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from conformance.catalog.v1 import catalog_pb2
from m2m_token import (
    ClientTokens,
    KeySet,
    PolicyError,
    Revocations,
    TrustedIssuer,
    aio,
    current_caller,
    server,
)
from m2m_token.client import _Plugin
from m2m_token.source import IssuedToken, SourceError

ISSUER = "https://issuer.example"
KEY = ec.generate_private_key(ec.SECP256R1())
KEYS = KeySet.from_jwks(
    json.dumps({"keys": [{**json.loads(ECAlgorithm.to_jwk(KEY.public_key())), "kid": "a"}]}).encode()
)
CATALOG = "conformance.catalog.v1.Catalog"
MESSAGE = catalog_pb2.Message


def sign(lifetime: int, token_id: str) -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": "orders",
        "client_id": "orders",
        "aud": "catalog",
        "jti": token_id,
        "scope": "catalog.read",
        "iat": now - 60,
        "exp": now + lifetime,
    }
    return jwt.encode(claims, KEY, "ES256", {"kid": "a", "typ": "at+jwt"})


class Source:
    def __init__(self, lifetime: int = 60):
        self.lifetime = lifetime
        self.issued = 0

    def fetch(self, request):
        self.issued += 1
        return IssuedToken(sign(self.lifetime, f"t{self.issued}"), 60_000_000_000)


def handlers(served: list, asynchronous: bool = False):
    codec = {
        "request_deserializer": MESSAGE.FromString,
        "response_serializer": MESSAGE.SerializeToString,
    }

    def get(request, context):
        served.append(current_caller())
        context.set_trailing_metadata((("token-refused", "before-handler /a/B"), ("other", "kept")))
        return MESSAGE(text="here")

    def watch(request, context):
        served.append(current_caller())
        yield MESSAGE(text="first")
        time.sleep(20)

    def upload(requests, context):
        return MESSAGE(text=",".join(request.text for request in requests))

    def chat(requests, context):
        for request in requests:
            served.append(request.text)
            yield request

    async def async_get(request, context):
        return get(request, context)

    async def async_upload(requests, context):
        return MESSAGE(text=",".join([request.text async for request in requests]))

    async def async_chat(requests, context):
        async for request in requests:
            served.append(request.text)
            yield request

    async def async_watch(request, context):
        served.append(current_caller())
        yield MESSAGE(text="first")
        await asyncio.sleep(20)

    unary, stream = (async_get, async_watch) if asynchronous else (get, watch)
    methods = {
        name: grpc.unary_unary_rpc_method_handler(unary, **codec)
        for name in ("Get", "Put", "Find", "Touch", "Ping", "Greet", "Audit", "Delete")
    }
    methods["Watch"] = grpc.unary_stream_rpc_method_handler(stream, **codec)
    received, both = (async_upload, async_chat) if asynchronous else (upload, chat)
    methods["Upload"] = grpc.stream_unary_rpc_method_handler(received, **codec)
    methods["Chat"] = grpc.stream_stream_rpc_method_handler(both, **codec)
    return methods


class Calls:
    """The methods of a channel that the tests call."""

    def __init__(self, channel):
        codec = {
            "request_serializer": MESSAGE.SerializeToString,
            "response_deserializer": MESSAGE.FromString,
        }
        self.get = channel.unary_unary(f"/{CATALOG}/Get", **codec)
        self.ping = channel.unary_unary(f"/{CATALOG}/Ping", **codec)
        self.greet = channel.unary_unary(f"/{CATALOG}/Greet", **codec)
        self.watch = channel.unary_stream(f"/{CATALOG}/Watch", **codec)
        self.upload = channel.stream_unary(f"/{CATALOG}/Upload", **codec)
        self.chat = channel.stream_stream(f"/{CATALOG}/Chat", **codec)


class World:
    def __init__(self, lifetime: int = 60, **options):
        self.served: list = []
        self.revocations = Revocations()
        self.source = Source(lifetime)
        issuer = TrustedIssuer.fixed(ISSUER, KEYS).limited(revocations=self.revocations)
        self.server = server(futures.ThreadPoolExecutor(4), issuers=[issuer], **options)
        self.server.add_registered_method_handlers(CATALOG, handlers(self.served))
        self.port = self.server.add_insecure_port("localhost:0")
        self.server.start()
        self.tokens = ClientTokens(self.source)

    def __enter__(self):
        self.channel = self.tokens.insecure_channel(f"localhost:{self.port}")
        self.bare = grpc.insecure_channel(f"localhost:{self.port}")
        return self

    def __exit__(self, *_):
        self.channel.close()
        self.bare.close()
        self.tokens.close()
        self.server.stop(0)


def test_a_call_carries_its_token_and_a_handler_makes_no_mark():
    with World() as world:
        answer, call = Calls(world.channel).get.with_call(MESSAGE(), timeout=20)
        assert answer.text == "here"
        assert [key for key, _ in call.trailing_metadata()] == ["other"]
        assert world.served[0].client_id == "orders"


def test_a_call_without_a_token_is_refused_and_a_public_one_is_not():
    with World() as world:
        with pytest.raises(grpc.RpcError) as refused:
            Calls(world.bare).get(MESSAGE(), timeout=20)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert dict(refused.value.trailing_metadata())["www-authenticate"] == "Bearer"
        assert not world.served
        assert Calls(world.bare).ping(MESSAGE(), timeout=20).text == "here"


class Refusing:
    """A source that grants nothing."""

    def fetch(self, request):
        raise SourceError("not granted", refusal="target", cause="answer")


def test_an_identifying_method_knows_its_caller_if_there_is_one():
    with World() as world:
        Calls(world.bare).greet(MESSAGE(), timeout=20)
        for _ in range(2):
            Calls(world.channel).greet(MESSAGE(), timeout=20, metadata=[("other", "kept")])
        nothing = ClientTokens(Refusing()).insecure_channel(f"localhost:{world.port}")
        Calls(nothing).greet(MESSAGE(), timeout=20)
        Calls(nothing).greet.future(MESSAGE(), timeout=20).result()
        callers = [caller and caller.client_id for caller in world.served]
        assert callers == [None, "orders", "orders", None, None]
        for wrong in ("Bearer rubbish", "Basic YTpi", ""):
            with pytest.raises(grpc.RpcError) as refused:
                Calls(world.bare).greet(MESSAGE(), timeout=20, metadata=[("authorization", wrong)])
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_without_a_caller_an_identifying_method_is_called_anonymously():
    with World() as world:
        tokens = ClientTokens(world.source, on_behalf_of_caller=True)
        calls = Calls(tokens.insecure_channel(f"localhost:{world.port}"))
        for _ in range(2):
            calls.greet(MESSAGE(), timeout=20)
        with pytest.raises(grpc.RpcError) as refused:
            calls.get(MESSAGE(), timeout=20)
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert (world.served, world.source.issued) == ([None, None], 0)


def test_call_credentials_never_use_the_programs_own_rights():
    def outcome(tokens: ClientTokens, method: str):
        outcomes = []
        context = SimpleNamespace(service_url=f"https://catalog.example/{CATALOG}", method_name=method)
        _Plugin(tokens)(context, lambda metadata, error: outcomes.append((metadata, error)))
        tokens.close()
        return outcomes[0]

    own = ClientTokens(Source(), on_behalf_of_caller=True)
    metadata, error = outcome(own, "Get")
    assert (metadata, error.code()) == ((), grpc.StatusCode.FAILED_PRECONDITION)
    assert outcome(ClientTokens(Source(), on_behalf_of_caller=True), "Greet") == ((), None)
    assert outcome(ClientTokens(Source()), "Ping") == ((), None)


def test_methods_that_share_a_token_later_no_longer_have_their_own():
    with World() as world:
        calls = Calls(world.channel)
        calls.get(MESSAGE(), timeout=20)
        world.tokens.share(f"/{CATALOG}/Get", f"/{CATALOG}/Greet")
        calls.get(MESSAGE(), timeout=20)
        calls.greet(MESSAGE(), timeout=20)
        assert world.source.issued == 1  # they demand no more than the first


def test_observe_mode_lets_a_call_pass_and_records_it():
    denied = []
    with World(observe=True, on_denied=lambda path, why: denied.append((path, why.reason))) as world:
        assert Calls(world.bare).get(MESSAGE(), timeout=20).text == "here"
    assert denied == [(f"/{CATALOG}/Get", "CREDENTIALS_MISSING")]


def test_a_revoked_token_is_replaced_and_the_call_is_sent_once_more():
    with World() as world:
        calls = Calls(world.channel)
        calls.get(MESSAGE(), timeout=20)
        world.revocations.revoke_token("t1")
        calls.get(MESSAGE(), timeout=20)
        assert (world.source.issued, len(world.served)) == (2, 2)


def test_a_stream_ends_within_a_second_of_its_token():
    with World(lifetime=-3) as world:
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as ended:
            list(Calls(world.channel).watch(MESSAGE(), timeout=30))
        assert ended.value.details() == "the token has expired"
        assert time.monotonic() - began < 8


class Requests:
    """Two requests, and then none until the end of the test."""

    def __init__(self):
        self._over = threading.Event()

    def __iter__(self):
        yield MESSAGE(text="one")
        yield MESSAGE(text="two")
        self._over.wait(30)

    def end(self):
        self._over.set()


def test_streams_of_requests_carry_their_token():
    with World() as world:
        requests = (MESSAGE(text="one"), MESSAGE(text="two"))
        assert Calls(world.channel).upload(iter(requests), timeout=20).text == "one,two"
        echoed = [message.text for message in Calls(world.channel).chat(iter(requests), timeout=20)]
        assert echoed == ["one", "two"]
        for call in (Calls(world.bare).upload, Calls(world.bare).chat):
            with pytest.raises(grpc.RpcError) as refused:
                list(call(iter(requests), timeout=20))
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert world.served == ["one", "two"]


def test_a_stream_of_requests_ends_with_its_token():
    with World(lifetime=-3) as world:
        requests = Requests()
        with pytest.raises(grpc.RpcError) as ended:
            Calls(world.channel).upload(iter(requests), timeout=30)
        requests.end()
        assert ended.value.details() == "the token has expired"


def test_streams_in_both_directions_end_with_a_revocation():
    with World() as world:
        requests = Requests()
        stream = Calls(world.channel).chat(iter(requests), timeout=30)
        assert [next(stream).text, next(stream).text] == ["one", "two"]
        began = time.monotonic()
        world.revocations.revoke_client("orders", 2**40)
        with pytest.raises(grpc.RpcError) as ended:
            next(stream)
        requests.end()
        assert ended.value.details() == "the token was revoked"
        assert time.monotonic() - began < 5


def test_the_server_marks_its_refusals_and_the_client_keeps_the_marks():
    with World() as world:
        token = (("authorization", f"Bearer {sign(60, 'revoked')}"),)
        world.revocations.revoke_token("revoked")
        with pytest.raises(grpc.RpcError) as refused:
            Calls(world.bare).get(MESSAGE(), timeout=20, metadata=token)
        mark = ("token-refused", f"before-handler /{CATALOG}/Get")
        assert mark in tuple(refused.value.trailing_metadata())
        # The program's own header is sent as it is, and the program gets no mark.
        with pytest.raises(grpc.RpcError) as refused:
            Calls(world.channel).get(MESSAGE(), timeout=20, metadata=token)
        assert refused.value.details() == "the token was revoked"
        assert "www-authenticate" in dict(refused.value.trailing_metadata())
        assert mark not in tuple(refused.value.trailing_metadata())
        with pytest.raises(grpc.RpcError) as ended:
            list(Calls(world.channel).watch(MESSAGE(), timeout=20, metadata=token))
        assert "token-refused" not in dict(ended.value.trailing_metadata())


def marking_server():
    """A server without the layer, which marks every answer."""

    def get(request, context):
        context.set_trailing_metadata(
            (("token-refused", f"before-handler /{CATALOG}/Get"), ("other", "kept"))
        )
        return MESSAGE(text="here")

    def watch(request, context):
        yield get(request, context)
        context.abort(grpc.StatusCode.ABORTED, "over")

    codec = {"request_deserializer": MESSAGE.FromString, "response_serializer": MESSAGE.SerializeToString}
    marking = grpc.server(futures.ThreadPoolExecutor(2))
    handlers = {
        "Get": grpc.unary_unary_rpc_method_handler(get, **codec),
        "Watch": grpc.unary_stream_rpc_method_handler(watch, **codec),
    }
    marking.add_registered_method_handlers(CATALOG, handlers)
    port = marking.add_insecure_port("localhost:0")
    marking.start()
    return marking, port


def test_the_client_keeps_the_marks_of_any_server():
    marking, port = marking_server()
    calls = Calls(ClientTokens(Source()).insecure_channel(f"localhost:{port}"))
    answer, call = calls.get.with_call(MESSAGE(), timeout=20)
    assert (answer.text, dict(call.trailing_metadata())) == ("here", {"other": "kept"})
    future = calls.get.future(MESSAGE(), timeout=20)
    assert (future.result().text, dict(future.trailing_metadata())) == ("here", {"other": "kept"})
    stream = calls.watch(MESSAGE(), timeout=20)
    assert next(stream).text == "here"
    with pytest.raises(grpc.RpcError) as ended:
        next(stream)
    assert (ended.value.code(), ended.value.details()) == (grpc.StatusCode.ABORTED, "over")
    assert dict(ended.value.trailing_metadata()) == {"other": "kept"}
    assert stream.exception() is ended.value
    marking.stop(0)


def test_asynchronous_calls_keep_the_marks_of_any_server():
    async def check(port: int) -> None:
        tokens = ClientTokens(Source())
        async with aio.insecure_channel(tokens, f"localhost:{port}") as channel:
            calls = Calls(channel)
            call = calls.get(MESSAGE(), timeout=20)
            assert (await call).text == "here"
            assert dict(await call.trailing_metadata()) == {"other": "kept"}
            stream = calls.watch(MESSAGE(), timeout=20)
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                async for message in stream:
                    assert message.text == "here"
            assert ended.value.details() == "over"
            assert dict(ended.value.trailing_metadata()) == {"other": "kept"}
        tokens.close()

    marking, port = marking_server()
    asyncio.run(check(port))
    marking.stop(0)


def test_a_stream_ends_within_a_second_of_a_revocation():
    with World() as world:
        stream = Calls(world.channel).watch(MESSAGE(), timeout=30)
        assert next(stream).text == "first"
        began = time.monotonic()
        world.revocations.revoke_client("orders", 2**40)
        with pytest.raises(grpc.RpcError) as ended:
            next(stream)
        assert ended.value.details() == "the token was revoked"
        assert time.monotonic() - began < 5


def test_a_future_carries_a_token_too():
    with World() as world:
        assert Calls(world.channel).get.future(MESSAGE(), timeout=20).result().text == "here"


def test_an_outage_of_the_issuer_has_its_own_reason():
    class Broken:
        def fetch(self, request):
            raise RuntimeError("a secret")

    with World() as world:
        channel = ClientTokens(Broken()).insecure_channel(f"localhost:{world.port}")
        with pytest.raises(grpc.RpcError) as failed:
            Calls(channel).get(MESSAGE(), timeout=20)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "secret" not in failed.value.details()


def test_a_server_without_a_policy_does_not_start():
    issuer = TrustedIssuer.fixed(ISSUER, KEYS)
    guarded = server(futures.ThreadPoolExecutor(1), issuers=[issuer])
    guarded.add_registered_method_handlers("unknown.Service", {})
    guarded.add_registered_method_handlers("conformance.catalog.v1.Forgotten", {})
    with pytest.raises(PolicyError, match=r"Forgotten/Get.*|unknown\.Service"):
        guarded.start()


def test_plaintext_to_another_machine_is_refused():
    with pytest.raises(ValueError, match="plaintext"):
        ClientTokens(Source()).insecure_channel("example.com:443")


def run_async(check, lifetime: int = 60, source=None) -> None:
    async def run() -> None:
        served: list = []
        revocations = Revocations()
        issuer = TrustedIssuer.fixed(ISSUER, KEYS).limited(revocations=revocations)
        guarded = aio.server(issuers=[issuer])
        guarded.add_registered_method_handlers(CATALOG, handlers(served, asynchronous=True))
        port = guarded.add_insecure_port("localhost:0")
        await guarded.start()
        tokens = ClientTokens(source or Source(lifetime))
        async with aio.insecure_channel(tokens, f"localhost:{port}") as channel:
            await check(Calls(channel), revocations, served)
        tokens.close()
        await guarded.stop(0)

    asyncio.run(run())


def test_an_asynchronous_identifying_method_knows_its_caller_if_there_is_one():
    async def check(calls, revocations, served) -> None:
        await calls.greet(MESSAGE(), timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await calls.greet(MESSAGE(), timeout=20, metadata=(("authorization", "Bearer rubbish"),))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert [caller.client_id for caller in served] == ["orders"]

    run_async(check)


def test_an_asynchronous_call_without_a_token_is_anonymous_where_it_may_be():
    async def check(calls, revocations, served) -> None:
        await calls.greet(MESSAGE(), timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await calls.get(MESSAGE(), timeout=20)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert served == [None]

    run_async(check, source=Refusing())


def test_asynchronous_streams_of_requests_end_with_a_revocation():
    async def check(calls, revocations, served) -> None:
        assert (await calls.upload(iter([MESSAGE(text="one")]), timeout=20)).text == "one"
        over = asyncio.Event()

        async def requests():
            yield MESSAGE(text="one")
            await over.wait()

        stream = calls.chat(requests(), timeout=30)
        assert (await stream.read()).text == "one"
        upload = asyncio.ensure_future(_outcome(calls.upload(requests(), timeout=30)))
        await asyncio.sleep(0)
        revocations.revoke_client("orders", 2**40)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await stream.read()
        assert ended.value.details() == "the token was revoked"
        assert (await upload).details() == "the token was revoked"
        over.set()

    run_async(check)


async def _outcome(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await call
    return ended.value


def test_asynchronous_calls_carry_tokens_and_are_sent_once_more():
    async def check(calls, revocations, served) -> None:
        assert (await calls.get(MESSAGE(), timeout=20)).text == "here"
        revocations.revoke_token("t1")
        assert (await calls.get(MESSAGE(), timeout=20)).text == "here"
        assert [caller.token_id for caller in served] == ["t1", "t2"]

    run_async(check)


def test_an_asynchronous_stream_ends_with_its_token():
    async def check(calls, revocations, served) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            async for _ in calls.watch(MESSAGE(), timeout=30):
                pass
        assert ended.value.details() == "the token has expired"
        assert served[0].client_id == "orders"

    run_async(check, lifetime=-3)
