"""The package's own sources of tokens, against the issuer and the Rust example application."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

import inventory_pb2
import inventory_pb2_grpc
import m2m_token
from world import AUDIENCE, CA_FILE, CLIENT_ID, CLIENT_SECRET, INVENTORY, ISSUER, details, inventory, read, tokens

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
KEYED = "keyed-by-the-python-layer"
REQUEST = inventory_pb2.GetItemRequest(sku="sp-1")
ROOTS = read(CA_FILE)


def client(*words: str) -> str:
    return subprocess.run(
        [os.environ["TOKEN_SERVER"], "client", *words], check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture(scope="module")
def key(tmp_path_factory) -> m2m_token.PrivateKeyJwt:
    """The key of a client that has no secret, and may exchange tokens."""
    folder = tmp_path_factory.mktemp("key")
    public = client("new-key", "--out", str(folder / "key.pem"))
    (folder / "public.jwk").write_text(public)
    grants = ["--grant", f"{AUDIENCE}=inventory.read", "--subject-audience", AUDIENCE]
    client("create", KEYED, *grants, "--grant-type", "client_credentials", "--grant-type", EXCHANGE)
    client("add-key", KEYED, "--jwk", str(folder / "public.jwk"))
    return m2m_token.PrivateKeyJwt((folder / "key.pem").read_bytes(), json.loads(public)["kid"], ISSUER)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("agent") / "inventory.jwt"
    agent = [os.environ["TOKEN_SERVER"], "agent", "--once", "--token", f"{AUDIENCE}={path}"]
    subprocess.run(agent, check=True, capture_output=True)
    return path


def issuer(kind: str) -> m2m_token.GrpcIssuer | m2m_token.HttpIssuer:
    if kind == "grpc":
        return m2m_token.GrpcIssuer(ISSUER, extra_roots=ROOTS)
    return m2m_token.HttpIssuer(ISSUER, extra_roots=ROOTS)


def asked_by(source: m2m_token.TokenSource) -> str:
    return inventory(INVENTORY, m2m_token.ClientTokens(source)).GetItem(REQUEST, timeout=20).asked_by


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_a_secret_and_a_key_prove_a_client(kind, key):
    assert asked_by(m2m_token.ClientCredentials(CLIENT_ID, CLIENT_SECRET, issuer(kind))) == CLIENT_ID
    assert asked_by(m2m_token.ClientCredentials(KEYED, key, issuer(kind))) == KEYED


def test_a_file_and_a_configured_token_are_sent(file):
    assert asked_by(m2m_token.TokenFile(file)) == CLIENT_ID
    assert asked_by(m2m_token.StaticToken(file.read_text().strip())) == CLIENT_ID


def test_a_file_without_a_token_is_the_clients_own_fault(tmp_path):
    broken = tmp_path / "broken.jwt"
    broken.write_text("no token")
    with pytest.raises(grpc.RpcError) as failed:
        asked_by(m2m_token.TokenFile(broken))
    info, _ = details(failed.value)
    assert (failed.value.code(), info.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CLIENT_AUTHENTICATION_FAILED")


class Gateway(inventory_pb2_grpc.InventoryServiceServicer):
    """Passes the call to the Rust application, on behalf of its caller."""

    def __init__(self, next_service):
        self._next = next_service

    def GetItem(self, request, context):
        return self._next.GetItem(request, timeout=20)


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_a_server_calls_on_behalf_of_its_caller(kind, key):
    source = m2m_token.TokenExchange(KEYED, key, issuer(kind))
    next_service = inventory(INVENTORY, m2m_token.ClientTokens(source, on_behalf_of_caller=True))
    with pytest.raises(grpc.RpcError) as failed:
        next_service.GetItem(REQUEST, timeout=20)
    assert failed.value.code() is grpc.StatusCode.FAILED_PRECONDITION  # Otherwise it had the program's own rights.

    trusted = m2m_token.discover(ISSUER, extra_roots=ROOTS)
    server = m2m_token.server(ThreadPoolExecutor(4), issuers=[trusted])
    inventory_pb2_grpc.add_InventoryServiceServicer_to_server(Gateway(next_service), server)
    certificate = (read(os.environ["TOKEN_TLS_KEY"]), read(os.environ["TOKEN_TLS_CERTIFICATE"]))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([certificate]))
    server.start()
    try:
        assert inventory(f"localhost:{port}", tokens()).GetItem(REQUEST, timeout=20).asked_by == KEYED
    finally:
        server.stop(None)
