"""Envoy asks token-server about every request, with the filter and cluster of the documentation."""

import http.client
import json
import os
from pathlib import Path

import grpc
import pytest
import requests
import yaml

from conftest import cluster, envoy
import inventory_pb2
import inventory_pb2_grpc
from world import AUDIENCE, CA_FILE, CLIENT_ID, CLIENT_SECRET, ISSUER, challenge, details

PAGE = Path(__file__).parents[3] / "token-server/docs/languages/envoy.md"
GALLERY = Path(__file__).parents[3] / "token-interceptor/testdata/forgeries.json"


def documented_filter() -> dict:
    """Returns the filter that the page shows."""
    [block] = [b for b in PAGE.read_text().split("```yaml\n")[1:] if "ext_authz.v3.ExtAuthz" in b]
    return yaml.safe_load(block.split("```")[0])[0]


@pytest.fixture(scope="module")
def service(tmp_path_factory, upstream):
    clusters = [cluster("inventory", f"127.0.0.1:{upstream.port}"), cluster("token-server", os.environ["EXT_AUTHZ"])]
    with envoy(tmp_path_factory.mktemp("ext-authz"), [documented_filter()], clusters) as address:
        yield stub(address)


def stub(address: str):
    service = inventory_pb2_grpc.InventoryServiceStub(grpc.insecure_channel(address))
    service.address = address
    return service


@pytest.fixture(scope="module")
def token():
    form = {"grant_type": "client_credentials", "audience": AUDIENCE}
    answer = requests.post(
        f"{ISSUER}/oauth/token", data=form, auth=(CLIENT_ID, CLIENT_SECRET), verify=CA_FILE, timeout=10
    )
    return answer.json()["access_token"]


def bearer(token: str, *more: tuple[str, str]) -> dict:
    return {"metadata": [("authorization", f"Bearer {token}"), *more], "timeout": 10}


def refused(call) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value


def test_a_good_token_is_let_through_and_the_server_knows_who_calls(service, token, upstream):
    answer = service.GetItem(inventory_pb2.GetItemRequest(sku="A-1"), **bearer(token))
    assert (answer.item.sku, answer.asked_by) == ("A-1", CLIENT_ID)
    heard = dict(upstream.metadata)
    assert (heard["x-token-subject"], heard["x-token-scopes"]) == (CLIENT_ID, "inventory.read")


def test_a_stream_is_let_through(service, token):
    [answer] = service.ListItems(inventory_pb2.ListItemsRequest(), **bearer(token))
    assert answer.item.name == "spanner"


def test_without_a_token_a_call_reads_as_it_would_from_our_own_layer(service, upstream):
    upstream.metadata = None
    error = refused(lambda: service.GetItem(inventory_pb2.GetItemRequest(), timeout=10))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert error.details() == "a bearer token is required"
    assert details(error)[0].reason == "CREDENTIALS_MISSING"
    assert challenge(error) == "Bearer"
    assert upstream.metadata is None


def test_a_missing_scope_is_named(service, token, upstream):
    upstream.metadata = None
    error = refused(lambda: service.DeleteItem(inventory_pb2.DeleteItemRequest(), **bearer(token)))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    info = details(error)[0]
    assert (info.reason, info.metadata["scope"]) == ("SCOPE_INSUFFICIENT", "inventory.write")
    assert 'scope="inventory.write"' in challenge(error)
    assert upstream.metadata is None


def test_a_public_method_needs_no_token_and_tells_no_lies(service, upstream):
    made_up = [("x-token-client-id", "root"), ("x-token-scopes", "inventory.write"), ("x-token-made-up", "yes")]
    answer = service.GetOpeningHours(inventory_pb2.GetOpeningHoursRequest(), metadata=made_up, timeout=10)
    assert answer.hours == "nine to five"
    assert not [name for name, _ in upstream.metadata if name.startswith("x-token")]


def test_who_calls_cannot_be_made_up_beside_a_good_token(service, token, upstream):
    made_up = [("x-token-client-id", "root"), ("x-token-actor", "root")]
    answer = service.GetItem(inventory_pb2.GetItemRequest(), **bearer(token, *made_up))
    assert answer.asked_by == CLIENT_ID
    told = [pair for pair in upstream.metadata if pair[0] in ("x-token-client-id", "x-token-actor")]
    assert told == [("x-token-client-id", CLIENT_ID)]


def test_an_undeclared_method_is_denied(service, token):
    channel = grpc.insecure_channel(service.address)
    for path in ("/inventory.v1.InventoryService/Other", "/other.v1.Service/GetItem"):
        call = channel.unary_unary(path)
        error = refused(lambda call=call: call(b"", **bearer(token)))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert details(error)[0].reason == "METHOD_NOT_DECLARED"


def test_two_tokens_are_none(service, token):
    two = [("authorization", f"Bearer {token}")] * 2
    error = refused(lambda: service.GetItem(inventory_pb2.GetItemRequest(), metadata=two, timeout=10))
    assert (error.code(), details(error)[0].reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")


@pytest.mark.parametrize("forgery", json.loads(GALLERY.read_text())["forgeries"], ids=lambda forgery: forgery["name"])
def test_refuses_forged(service, upstream, forgery):
    upstream.metadata = None
    token = forgery["token"]
    error = refused(lambda: service.GetItem(inventory_pb2.GetItemRequest(), **bearer(token)))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert upstream.metadata is None


def test_what_is_not_grpc_is_answered_in_http(service):
    connection = http.client.HTTPConnection(service.address, timeout=10)
    connection.request("POST", "/inventory.v1.InventoryService/GetItem", headers={"content-type": "application/json"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert json.loads(answer.read())["reason"] == "CREDENTIALS_MISSING"


def test_a_revoked_token_is_refused_at_once(service):
    form = {"grant_type": "client_credentials", "audience": AUDIENCE}
    post = {"auth": (CLIENT_ID, CLIENT_SECRET), "verify": CA_FILE, "timeout": 10}
    token = requests.post(f"{ISSUER}/oauth/token", data=form, **post).json()["access_token"]
    service.GetItem(inventory_pb2.GetItemRequest(), **bearer(token))
    assert requests.post(f"{ISSUER}/oauth/revoke", data={"token": token}, **post).status_code == 200
    error = refused(lambda: service.GetItem(inventory_pb2.GetItemRequest(), **bearer(token)))
    assert (error.code(), details(error)[0].reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED")


def test_without_the_issuer_nothing_is_let_through(tmp_path, token, upstream):
    upstream.metadata = None
    # No server listens on this port.
    clusters = [cluster("inventory", f"127.0.0.1:{upstream.port}"), cluster("token-server", "127.0.0.1:1")]
    with envoy(tmp_path, [documented_filter()], clusters) as address:
        error = refused(lambda: stub(address).GetItem(inventory_pb2.GetItemRequest(), **bearer(token)))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert upstream.metadata is None
