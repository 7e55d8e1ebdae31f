"""Runs every forged token of the gallery. gallery.json records the accepted ones."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import jwt
import pytest

import inventory_pb2
import inventory_pb2_grpc
from token_verifier import TokenVerifier

ROOT = Path(__file__).parents[3]
GALLERY = json.loads((ROOT / "token-interceptor/testdata/forgeries.json").read_text())
RECORD = json.loads((ROOT / "tests/interop/gallery.json").read_text())
ISSUER, AUDIENCE = GALLERY["issuer"], GALLERY["audience"]


class Keys(jwt.PyJWKClient):
    """Returns the gallery's JWK Set in place of a fetch."""

    def fetch_data(self):
        return GALLERY["jwks"]


KEYS = Keys(f"{ISSUER}/jwks.json")


def alone(token):
    key = KEYS.get_signing_key_from_jwt(token)
    return jwt.decode(token, key, algorithms=["ES256"], audience=AUDIENCE, issuer=ISSUER)


@pytest.mark.parametrize(
    ("name", "verify"),
    [("PyJWT", alone), ("PyJWT, token_verifier.py", TokenVerifier(ISSUER, AUDIENCE, KEYS, {}).verify)],
)
def test_accepts_what_is_on_record(name, verify):
    for good in GALLERY["good"]:
        verify(good["token"])
    accepted = []
    for forgery in GALLERY["forgeries"]:
        try:
            verify(forgery["token"])
            accepted.append(forgery["name"])
        except jwt.PyJWTError:
            pass
    assert len(GALLERY["forgeries"]) > 100
    assert accepted == RECORD[name]


@pytest.fixture
def server():
    """As in an application, the verifier protects every method. It trusts the gallery's issuer."""
    scopes = {"/inventory.v1.InventoryService/GetItem": "a.read"}
    started = grpc.server(ThreadPoolExecutor(4), interceptors=[TokenVerifier(ISSUER, AUDIENCE, KEYS, scopes)])
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
    assert accepted == [name for name in RECORD["PyJWT, token_verifier.py"] if name in known]
