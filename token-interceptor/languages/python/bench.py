"""The cost of the layers beside an echo of the same language: python bench.py, with the package installed.

Prints CPU time of the whole process, client and server, per unary call.
"""

import json
import sys
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

sys.path.insert(0, str(Path(__file__).parent / "conformance/stubs"))

from conformance.catalog.v1 import catalog_pb2
from m2m_token import ClientTokens, KeySet, Policy, StaticToken, TrustedIssuer, Verifier
from m2m_token.calls import procedure
from m2m_token.layer import Layer

PATH = "/conformance.catalog.v1.Catalog/Get"
MESSAGE = catalog_pb2.Message
ISSUER = "https://issuer.example"


def per_call(work: Callable[[], object], calls: int) -> float:
    """Returns microseconds of CPU time: the best of five rounds."""
    rounds = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(calls):
            work()
        rounds.append((time.process_time() - began) / calls * 1e6)
    return min(rounds)


def main() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = {**json.loads(ECAlgorithm.to_jwk(key.public_key())), "kid": "a"}
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": "s",
        "client_id": "s",
        "aud": "catalog",
        "jti": "1",
        "scope": "catalog.read",
    }
    token = jwt.encode(claims | {"iat": now, "exp": now + 3600}, key, "ES256", {"kid": "a", "typ": "at+jwt"})

    server = grpc.server(futures.ThreadPoolExecutor(2))
    codec = {"request_deserializer": MESSAGE.FromString, "response_serializer": MESSAGE.SerializeToString}
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: request, **codec)
    server.add_registered_method_handlers("conformance.catalog.v1.Catalog", {"Get": handler})
    port = server.add_insecure_port("localhost:0")
    server.start()
    channel = grpc.insecure_channel(f"localhost:{port}")
    get = channel.unary_unary(PATH, MESSAGE.SerializeToString, MESSAGE.FromString)
    metadata = (("authorization", f"Bearer {token}"),)
    echo = per_call(lambda: get(MESSAGE(text="a"), metadata=metadata), 1000)

    keys = KeySet.from_jwks(json.dumps({"keys": [jwk]}).encode())
    policy = Policy.of_services(["conformance.catalog.v1.Catalog"])
    layer = Layer(Verifier([TrustedIssuer.fixed(ISSUER, keys)]), policy)
    enter = per_call(lambda: layer.enter(PATH, [f"Bearer {token}"]), 20_000)
    fresh = Verifier([TrustedIssuer.fixed(ISSUER, keys)], cached_tokens_max=0)
    verify = per_call(lambda: fresh.verify(token, "catalog"), 500)

    tokens = ClientTokens(StaticToken(token))
    arrived = futures.Future()
    tokens.keeper(PATH).obtain(arrived.set_result)
    arrived.result(10)

    def attach() -> None:
        carried = tokens.carried(PATH, [])
        next(procedure(carried.keeper, PATH, carried.replayable, None, tokens.runtime))

    attached = per_call(attach, 20_000)
    for name, cost in (
        ("the call itself: an echo over loopback, client and server", echo),
        ("the server layer, for a token that was seen before", enter),
        ("the client layer", attached),
        ("the verification of a new token: ES256, once per token", verify),
    ):
        print(f"| {name} | {cost:.1f} µs | {cost / echo:.1%} |")
    server.stop(0)


main()
