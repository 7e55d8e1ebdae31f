"""Runs every forged token of the gallery. gallery.json records the accepted ones."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import jwt
import pytest

import inventory_pb2
import inventory_pb2_grpc
from m2m_token import AuthorizationInterceptor, Denied, KeySet, Policy, TrustedIssuer, Verifier
from m2m_token.layer import Layer

ROOT = Path(__file__).parents[3]
GALLERY = json.loads((ROOT / "token-interceptor/testdata/forgeries.json").read_text())
RECORD = json.loads((ROOT / "tests/interop/gallery.json").read_text())
ISSUER, AUDIENCE = GALLERY["issuer"], GALLERY["audience"]


class Keys(jwt.PyJWKClient):
    """Returns the gallery's JWK Set in place of a fetch."""

    def fetch_data(self):
        return GALLERY["jwks"]


KEYS = Keys(f"{ISSUER}/jwks.json")
VERIFIER = Verifier([TrustedIssuer.fixed(ISSUER, KeySet.from_jwks(json.dumps(GALLERY["jwks"]).encode()))])


def alone(token):
    key = KEYS.get_signing_key_from_jwt(token)
    return jwt.decode(token, key, algorithms=["ES256"], audience=AUDIENCE, issuer=ISSUER)


@pytest.mark.parametrize(
    ("name", "verify"),
    [("PyJWT", alone), ("m2m-token of Python", lambda token: VERIFIER.verify(token, AUDIENCE))],
)
def test_accepts_what_is_on_record(name, verify):
    for good in GALLERY["good"]:
        verify(good["token"])
    accepted = []
    for forgery in GALLERY["forgeries"]:
        try:
            verify(forgery["token"])
            accepted.append(forgery["name"])
        except (jwt.PyJWTError, Denied):
            pass
    assert len(GALLERY["forgeries"]) > 100
    assert accepted == RECORD[name]


@pytest.fixture
def server():
    """As in an application, the layer protects every method. It trusts the gallery's issuer."""
    policy = Policy.of_services(["inventory.v1.InventoryService"])
    interceptor = AuthorizationInterceptor(Layer(VERIFIER, policy))
    started = grpc.server(ThreadPoolExecutor(4), interceptors=[interceptor])
    inventory_pb2_grpc.add_InventoryServiceServicer_to_server(inventory_pb2_grpc.InventoryServiceServicer(), started)
    port = started.add_insecure_port("127.0.0.1:0")
    started.start()
    yield f"127.0.0.1:{port}"
    started.stop(None)


def test_a_server_accepts_over_the_wire_what_is_on_record(server):
    service = inventory_pb2_grpc.InventoryServiceStub(grpc.insecure_channel(server))

    def accepts(token):
        with pytest.raises(grpc.RpcError) as answer:
            service.GetItem(inventory_pb2.GetItemRequest(), metadata=[("authorization", f"Bearer {token}")], timeout=10)
        # The scope and the handler, which are missing for most tokens, are checked after the token.
        assert answer.value.code().name in ("UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED")
        return answer.value.code() is not grpc.StatusCode.UNAUTHENTICATED

    assert all(accepts(good["token"]) for good in GALLERY["good"])
    # The transport rejects a token that is longer than a header may be.
    forgeries = [forgery for forgery in GALLERY["forgeries"] if len(forgery["token"]) < 8000]
    accepted = [forgery["name"] for forgery in forgeries if accepts(forgery["token"])]
    known = {forgery["name"] for forgery in forgeries}
    assert accepted == [name for name in RECORD["m2m-token of Python"] if name in known]
