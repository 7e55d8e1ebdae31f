"""Clients that find everything by the issuer's metadata: the MCP SDK, MSAL, requests-oauth2client."""

import asyncio
import json
import os
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import jwt
import msal
import pytest
from joserfc.jwk import ECKey
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from requests_oauth2client import OAuth2Client, PrivateKeyJwt

from world import CA_FILE, CLIENT_ID, CLIENT_SECRET, ISSUER

SCOPE = "inventory.read"


def manage(*words):
    command = [os.environ["TOKEN_SERVER"], "client", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def claims_of(token, audience):
    keys = jwt.PyJWKClient(f"{ISSUER}/jwks.json", ssl_context=ssl.create_default_context(cafile=CA_FILE))
    key = keys.get_signing_key_from_jwt(token)
    return jwt.decode(token, key, algorithms=["ES256"], audience=audience, issuer=ISSUER)


def keyed(name, grant, folder):
    """A client with a key pair instead of a secret. Returns the private key."""
    key = ECKey.generate_key("P-256")
    (folder / "public.pem").write_bytes(key.as_pem(private=False))
    manage("create", name, "--grant", grant)
    manage("add-key", name, "--key", folder / "public.pem")
    return key


class McpServer(BaseHTTPRequestHandler):
    """An MCP server without MCP: it names its issuer (RFC 9728), and shows the token of a call."""

    def do_GET(self):
        resource = f"http://127.0.0.1:{self.server.server_port}/mcp"
        if self.path == "/.well-known/oauth-protected-resource/mcp":
            return self.answer(200, {"resource": resource, "authorization_servers": [ISSUER]})
        if not self.headers.get("authorization", "").startswith("Bearer "):
            return self.answer(401, {})
        return self.answer(200, {"token": self.headers["authorization"].removeprefix("Bearer ")})

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        if status == 401:
            self.send_header("www-authenticate", "Bearer")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def mcp_server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), McpServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/mcp"
    server.shutdown()


class Storage:
    """The SDK's store of tokens, in memory."""

    tokens = client_info = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client_info

    async def set_client_info(self, client_info):
        self.client_info = client_info


def call(resource, provider):
    """The claims of the token with which the SDK calls."""

    async def get():
        trust = ssl.create_default_context(cafile=CA_FILE)
        async with httpx2.AsyncClient(auth=provider, verify=trust) as client:
            return await client.get(resource)

    return claims_of(asyncio.run(get()).json()["token"], resource)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_the_mcp_sdk_calls_with_a_token_for_its_secret(mcp_server, method):
    name = f"mcp-python-{method}"
    created = json.loads(manage("create", name, "--grant", f"{mcp_server}=tools.call", "--json"))
    provider = ClientCredentialsOAuthProvider(
        server_url=mcp_server,
        storage=Storage(),
        client_id=name,
        client_secret=created["client_secret"],
        token_endpoint_auth_method=method,
        issuer=ISSUER,
    )
    claims = call(mcp_server, provider)
    assert (claims["client_id"], claims["scope"]) == (name, "tools.call")


def test_the_mcp_sdk_calls_with_a_token_for_its_key(mcp_server, tmp_path):
    key = keyed("mcp-python-key", f"{mcp_server}=tools.call", tmp_path)
    assertion = SignedJWTParameters(
        issuer="mcp-python-key",
        subject="mcp-python-key",
        signing_key=key.as_pem(private=True).decode(),
        signing_algorithm="ES256",
        lifetime_seconds=60,
    )
    provider = PrivateKeyJWTOAuthProvider(
        server_url=mcp_server,
        storage=Storage(),
        client_id="mcp-python-key",
        assertion_provider=assertion.create_assertion_provider(),
        issuer=ISSUER,
    )
    assert call(mcp_server, provider)["client_id"] == "mcp-python-key"


@pytest.fixture
def trust_of_requests(monkeypatch):
    """A CA in this variable, as many machines have one, comes before the CA of a session."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", CA_FILE)


@pytest.mark.usefixtures("trust_of_requests")
def test_msal_gets_a_token_from_an_oidc_authority():
    # MSAL demands a path, and compares only scheme and host with the issuer. The dot goes before the request.
    application = msal.ConfidentialClientApplication(
        CLIENT_ID, client_credential=CLIENT_SECRET, oidc_authority=f"{ISSUER}/."
    )
    answer = application.acquire_token_for_client(scopes=[SCOPE])
    assert claims_of(answer["access_token"], "inventory")["client_id"] == CLIENT_ID


@pytest.mark.usefixtures("trust_of_requests")
def test_requests_oauth2client_gets_introspects_and_revokes_a_token():
    client = OAuth2Client.from_discovery_endpoint(issuer=ISSUER, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    token = client.client_credentials(scope=SCOPE)
    assert client.introspect_token(token).get("active") is True
    assert client.revoke_access_token(token)
    assert client.introspect_token(token) == {"active": False}


@pytest.mark.usefixtures("trust_of_requests")
def test_requests_oauth2client_proves_a_client_by_its_key(tmp_path):
    name = "keyed-by-requests"
    key = keyed(name, f"inventory={SCOPE}", tmp_path)
    private = key.as_dict(private=True) | {"alg": "ES256", "kid": key.thumbprint()}
    # By default the audience is the token endpoint.
    client = OAuth2Client.from_discovery_endpoint(issuer=ISSUER, auth=PrivateKeyJwt(name, private, aud=ISSUER))
    token = client.client_credentials(scope=SCOPE)
    assert claims_of(str(token), "inventory")["client_id"] == name
