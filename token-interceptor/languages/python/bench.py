"""The cost of the layers beside an echo of the same language: python bench.py, with the package installed.

Measures unary calls over loopback: the plain echo, with the server layer, and with the client layer. Each
round has all three, in turn. Prints CPU time of the whole process, in microseconds per call, for ../bench.
"""

import json
import os
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

import m2m_token
from conformance.catalog.v1 import catalog_pb2
from m2m_token import ClientTokens, KeySet, StaticToken, TrustedIssuer, Verifier

CATALOG = "conformance.catalog.v1.Catalog"
MESSAGE = catalog_pb2.Message
ISSUER = "https://issuer.example"
CALLS = 100
NEW_TOKENS = 20


def per_call(work: Callable[[], object], calls: int = CALLS) -> float:
    """Returns microseconds of CPU time."""
    began = time.process_time()
    for _ in range(calls):
        work()
    return (time.process_time() - began) / calls * 1e6


def serve(server) -> str:
    codec = {"request_deserializer": MESSAGE.FromString, "response_serializer": MESSAGE.SerializeToString}
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: request, **codec)
    server.add_registered_method_handlers(CATALOG, {"Get": handler})
    port = server.add_insecure_port("localhost:0")
    server.start()
    return f"localhost:{port}"


def main() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = {**json.loads(ECAlgorithm.to_jwk(key.public_key())), "kid": "a"}
    keys = KeySet.from_jwks(json.dumps({"keys": [jwk]}).encode())
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

    plain = grpc.server(futures.ThreadPoolExecutor(2))
    guarded = m2m_token.server(futures.ThreadPoolExecutor(2), issuers=[TrustedIssuer.fixed(ISSUER, keys)])
    to_plain, to_guarded = serve(plain), serve(guarded)
    tokens = ClientTokens(StaticToken(token))
    header = (("authorization", f"Bearer {token}"),)
    message = MESSAGE(text="a")

    def call(channel: grpc.Channel, metadata) -> Callable[[], object]:
        get = channel.unary_unary(f"/{CATALOG}/Get", MESSAGE.SerializeToString, MESSAGE.FromString)
        return lambda: get(message, metadata=metadata)

    # Every call sends the same header, so that only the layers differ.
    ways = (
        call(grpc.insecure_channel(to_plain), header),
        call(grpc.insecure_channel(to_guarded), header),
        call(tokens.insecure_channel(to_plain), None),
    )
    for way in ways:
        per_call(way)
    fresh = Verifier([TrustedIssuer.fixed(ISSUER, keys)], cached_tokens_max=0)
    rounds, new_token = [], []
    for number in range(int(os.environ.get("BENCH_ROUNDS", "151"))):
        cost = [0.0] * len(ways)
        for turn in range(len(ways)):
            which = (number + turn) % len(ways)
            cost[which] = per_call(ways[which])
        rounds.append(cost)
        new_token.append(per_call(lambda: fresh.verify(token, "catalog"), NEW_TOKENS))
    print(json.dumps({"rounds": rounds, "new_token": new_token}))
    plain.stop(0)
    guarded.stop(0)
    tokens.close()


main()
