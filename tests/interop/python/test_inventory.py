"""The Rust example application, called from Python through the client layer."""

import os

import grpc
import pytest

import inventory_pb2
from world import CLIENT_ID, INVENTORY, challenge, details, inventory, tokens


def test_a_call_with_a_token_is_allowed():
    service = inventory(INVENTORY, tokens())
    items = [answer.item for answer in service.ListItems(inventory_pb2.ListItemsRequest(), timeout=10)]
    answer = service.GetItem(inventory_pb2.GetItemRequest(sku=items[0].sku), timeout=10)
    assert answer.item == items[0]
    assert answer.asked_by == CLIENT_ID


def test_a_denied_call_names_the_missing_scope():
    with pytest.raises(grpc.RpcError) as denied:
        inventory(INVENTORY, tokens()).DeleteItem(inventory_pb2.DeleteItemRequest(sku="any"), timeout=10)
    info, _ = details(denied.value)
    assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert (info.domain, info.reason) == ("m2m.token.v1", "SCOPE_INSUFFICIENT")
    assert info.metadata["scope"] == "inventory.write"
    assert challenge(denied.value).startswith("Bearer ")
    assert 'error="insufficient_scope"' in challenge(denied.value)
    assert 'scope="inventory.write"' in challenge(denied.value)


def test_a_call_without_a_token_is_challenged():
    with pytest.raises(grpc.RpcError) as refused:
        inventory(INVENTORY).GetItem(inventory_pb2.GetItemRequest(), timeout=10)
    info, _ = details(refused.value)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert info.reason == "CREDENTIALS_MISSING"
    assert challenge(refused.value).startswith("Bearer")
    assert "error=" not in challenge(refused.value)


def test_a_public_method_needs_no_token():
    inventory(INVENTORY).GetOpeningHours(inventory_pb2.GetOpeningHoursRequest(), timeout=10)


def test_a_server_that_cannot_reach_its_issuer_says_when_to_try_again():
    service = inventory(os.environ["INVENTORY_WITHOUT_ISSUER"], tokens())
    with pytest.raises(grpc.RpcError) as unavailable:
        service.GetItem(inventory_pb2.GetItemRequest(), timeout=10)
    info, retry = details(unavailable.value)
    assert unavailable.value.code() is grpc.StatusCode.UNAVAILABLE
    assert info.reason == "TRUST_UNAVAILABLE"
    assert retry.retry_delay.ToTimedelta().total_seconds() > 0


def test_a_wrong_secret_fails_the_call_and_says_why():
    with pytest.raises(grpc.RpcError) as failed:
        inventory(INVENTORY, tokens("wrong")).GetItem(inventory_pb2.GetItemRequest(), timeout=10)
    info, _ = details(failed.value)
    assert failed.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert info.reason == "CLIENT_AUTHENTICATION_FAILED"
