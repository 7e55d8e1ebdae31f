"""A Python server behind the package's layer."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import requests

import inventory_pb2
import inventory_pb2_grpc
import m2m_token
from world import AUDIENCE, CA_FILE, CLIENT_ID, CLIENT_SECRET, ISSUER, challenge, details, inventory, read, tokens


class Inventory(inventory_pb2_grpc.InventoryServiceServicer):
    def GetOpeningHours(self, request, context):
        return inventory_pb2.GetOpeningHoursResponse(hours="around the clock")

    def GetItem(self, request, context):
        item = inventory_pb2.Item(sku=request.sku, name="served by Python", in_stock=1)
        return inventory_pb2.GetItemResponse(item=item, asked_by=m2m_token.current_caller().client_id)

    def ListItems(self, request, context):
        yield inventory_pb2.ListItemsResponse(item=inventory_pb2.Item(name=m2m_token.current_caller().client_id))


@pytest.fixture
def serve():
    servers = []

    def start(audience=AUDIENCE):
        issuer = m2m_token.discover(ISSUER, extra_roots=read(CA_FILE)).limited(audiences=[audience])
        server = m2m_token.server(ThreadPoolExecutor(4), issuers=[issuer])
        inventory_pb2_grpc.add_InventoryServiceServicer_to_server(Inventory(), server)
        certificate = (read(os.environ["TOKEN_TLS_KEY"]), read(os.environ["TOKEN_TLS_CERTIFICATE"]))
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([certificate]))
        server.start()
        servers.append(server)
        return f"localhost:{port}"

    yield start
    for server in servers:
        server.stop(None)


def refused(call, code):
    with pytest.raises(grpc.RpcError) as error:
        call()
    assert error.value.code() is code


def test_takes_our_tokens_and_asks_for_the_scope(serve):
    service = inventory(serve(), tokens())
    answer = service.GetItem(inventory_pb2.GetItemRequest(sku="A-1"), timeout=10)
    assert answer.asked_by == CLIENT_ID
    denied = grpc.StatusCode.PERMISSION_DENIED
    refused(lambda: service.DeleteItem(inventory_pb2.DeleteItemRequest(), timeout=10), denied)


def test_a_stream_knows_its_caller(serve):
    service = inventory(serve(), tokens())
    [answer] = service.ListItems(inventory_pb2.ListItemsRequest(), timeout=10)
    assert answer.item.name == CLIENT_ID


def test_refuses_a_token_for_another_audience(serve):
    service = inventory(serve(audience="elsewhere"), tokens())
    refused(
        lambda: service.GetItem(inventory_pb2.GetItemRequest(), timeout=10), grpc.StatusCode.UNAUTHENTICATED
    )


@pytest.fixture(scope="module")
def token():
    return requests.post(
        f"{ISSUER}/oauth/token",
        data={"grant_type": "client_credentials", "audience": AUDIENCE},
        auth=(CLIENT_ID, CLIENT_SECRET),
        verify=CA_FILE,
        timeout=10,
    ).json()["access_token"]


FORGERIES = {
    "no token": lambda token: [],
    "no bearer": lambda token: [f"Basic {token}"],
    "two tokens": lambda token: [f"Bearer {token}"] * 2,
    "no signature": lambda token: [f"Bearer {token.rpartition('.')[0]}."],
    "another's signature": lambda token: [f"Bearer {token.rpartition('.')[0]}.{'A' * 86}"],
    "something else": lambda token: ["Bearer something"],
    "a token in lowercase": lambda token: [f"Bearer {token.lower()}"],
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_refuses(serve, token, forgery):
    service = inventory(serve())
    request = inventory_pb2.GetItemRequest(sku="A-1")
    good = [("authorization", f"Bearer {token}")]
    assert service.GetItem(request, metadata=good, timeout=10).asked_by == CLIENT_ID
    bad = [("authorization", value) for value in FORGERIES[forgery](token)]
    refused(lambda: service.GetItem(request, metadata=bad, timeout=10), grpc.StatusCode.UNAUTHENTICATED)


def test_the_rust_client_of_a_python_server(serve):
    command = [os.environ["ORDERS"], "--seconds", "0", "--inventory", f"https://{serve()}"]
    orders = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert orders.returncode == 0, orders
    assert "served by Python, asked by orders" in orders.stdout
    denied = "PERMISSION_DENIED SCOPE_INSUFFICIENT, missing scope: inventory.write"
    assert f"DeleteItem with a token for inventory.read: {denied}" in orders.stdout


@pytest.mark.parametrize(
    ("sent", "reason"), [([], "CREDENTIALS_MISSING"), ([("authorization", "Bearer a.b.c")], "TOKEN_INVALID")]
)
def test_says_why_it_refuses(serve, sent, reason):
    with pytest.raises(grpc.RpcError) as error:
        inventory(serve()).GetItem(inventory_pb2.GetItemRequest(), metadata=sent, timeout=10)
    info, _ = details(error.value)
    assert (info.reason, info.domain) == (reason, "m2m.token.v1")
    assert challenge(error.value).startswith("Bearer")
