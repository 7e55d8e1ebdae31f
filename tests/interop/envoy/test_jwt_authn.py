"""Envoy verifies tokens with the output of `token-server policy envoy`."""

import json
import os
import subprocess
from pathlib import Path

import grpc
import pytest
import requests
import yaml

from conftest import cluster, envoy
import inventory_pb2
import inventory_pb2_grpc
from world import AUDIENCE, CA_FILE, CLIENT_ID, CLIENT_SECRET, ISSUER

ROOT = Path(__file__).parents[3]
GALLERY = json.loads((ROOT / "token-interceptor/testdata/forgeries.json").read_text())
RECORD = json.loads((ROOT / "tests/interop/gallery.json").read_text())


def written(issuer: str, *more: str) -> dict:
    command = [os.environ["TOKEN_SERVER"], "policy", "envoy", "--descriptor", os.environ["INVENTORY_DESCRIPTOR_SET"]]
    output = subprocess.run([*command, "--issuer", issuer, "--ca", CA_FILE, *more], capture_output=True, check=True)
    return yaml.safe_load(output.stdout)


@pytest.fixture(scope="module", params=[(), ("--danger-streams-outlive-tokens",)], ids=["strict", "streams"])
def service(request, tmp_path_factory, upstream):
    config = written(ISSUER, *request.param)
    clusters = [cluster("inventory", f"127.0.0.1:{upstream.port}"), *config["clusters"]]
    with envoy(tmp_path_factory.mktemp("jwt-authn"), config["http_filters"], clusters) as address:
        stub = inventory_pb2_grpc.InventoryServiceStub(grpc.insecure_channel(address))
        stub.address, stub.streams = address, bool(request.param)
        yield stub


@pytest.fixture(scope="module")
def token():
    form = {"grant_type": "client_credentials", "audience": AUDIENCE}
    post = {"auth": (CLIENT_ID, CLIENT_SECRET), "verify": CA_FILE, "timeout": 10}
    return requests.post(f"{ISSUER}/oauth/token", data=form, **post).json()["access_token"]


def bearer(token: str, *more: tuple[str, str]) -> dict:
    return {"metadata": [("authorization", f"Bearer {token}"), *more], "timeout": 10}


def refused(call) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code()


def test_a_good_token_is_let_through_and_the_server_knows_who_calls(service, token, upstream):
    answer = service.GetItem(inventory_pb2.GetItemRequest(sku="A-1"), **bearer(token, ("x-token-subject", "root")))
    assert (answer.item.sku, answer.asked_by) == ("A-1", CLIENT_ID)
    told = [pair for pair in upstream.metadata if pair[0] in ("x-token-subject", "x-token-scopes")]
    assert sorted(told) == [("x-token-scopes", "inventory.read"), ("x-token-subject", CLIENT_ID)]


def test_a_missing_token_and_a_missing_scope(service, token, upstream):
    upstream.metadata = None
    missing = refused(lambda: service.GetItem(inventory_pb2.GetItemRequest(), timeout=10))
    assert missing is grpc.StatusCode.UNAUTHENTICATED
    scope = refused(lambda: service.DeleteItem(inventory_pb2.DeleteItemRequest(), **bearer(token)))
    assert scope is grpc.StatusCode.PERMISSION_DENIED
    assert upstream.metadata is None


def test_a_token_in_the_query_is_not_taken(service, token):
    call = grpc.insecure_channel(service.address).unary_unary(
        f"/inventory.v1.InventoryService/GetItem?access_token={token}"
    )
    assert refused(lambda: call(b"", timeout=10)) is grpc.StatusCode.UNAUTHENTICATED


def test_a_public_method_needs_no_token_and_tells_no_lies(service, upstream):
    made_up = [("x-token-client-id", "root"), ("x-token-actor", "root"), ("x-token-payload", "e30")]
    answer = service.GetOpeningHours(inventory_pb2.GetOpeningHoursRequest(), metadata=made_up, timeout=10)
    assert answer.hours == "nine to five"
    assert not [name for name, _ in upstream.metadata if name.startswith("x-token")]


def test_an_undeclared_method_is_denied(service, token):
    call = grpc.insecure_channel(service.address).unary_unary("/inventory.v1.InventoryService/Other")
    assert refused(lambda: call(b"", **bearer(token))) is grpc.StatusCode.PERMISSION_DENIED


def test_a_stream_passes_only_where_it_may_outlive_its_token(service, token):
    listing = service.ListItems(inventory_pb2.ListItemsRequest(), **bearer(token))
    if service.streams:
        assert [answer.item.name for answer in listing] == ["spanner"]
    else:
        assert refused(lambda: list(listing)) is grpc.StatusCode.PERMISSION_DENIED


@pytest.fixture(scope="module")
def gallery(tmp_path_factory, upstream):
    """Returns the same filters with the gallery's issuer and keys, and without a required scope."""
    config = written(GALLERY["issuer"])
    _, jwt_authn, rbac = config["http_filters"]
    provider = jwt_authn["typed_config"]["providers"][AUDIENCE]
    del provider["remote_jwks"]
    provider["local_jwks"] = {"inline_string": json.dumps(GALLERY["jwks"])}
    policy = rbac["typed_config"]["rules"]["policies"]["/inventory.v1.InventoryService/GetItem"]
    principals = policy["principals"][0]["and_ids"]["ids"]
    [scope] = [one for one in principals if "list_match" in json.dumps(one)]
    principals.remove(scope)
    clusters = [cluster("inventory", f"127.0.0.1:{upstream.port}"), *config["clusters"]]
    with envoy(tmp_path_factory.mktemp("gallery"), config["http_filters"], clusters) as address:
        yield inventory_pb2_grpc.InventoryServiceStub(grpc.insecure_channel(address))


def test_accepts_what_is_on_record(gallery, upstream):
    for good in GALLERY["good"]:
        gallery.GetItem(inventory_pb2.GetItemRequest(), **bearer(good["token"]))
    accepted = []
    for forgery in GALLERY["forgeries"]:
        upstream.metadata = None
        try:
            gallery.GetItem(inventory_pb2.GetItemRequest(), **bearer(forgery["token"]))
            accepted.append(forgery["name"])
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                # Envoy admitted it. Python does not accept header fields of that size.
                accepted.append(forgery["name"])
                continue
            assert error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED), forgery
            assert upstream.metadata is None, forgery
    assert accepted == RECORD["Envoy, token-server policy envoy"]
