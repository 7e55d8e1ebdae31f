"""The source of the verifier's keys, and the allowed difference of the clocks."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from m2m_token import Denied, Verifier, discover

KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def served():
    """A server whose documents are added by path."""
    documents = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            document = documents.get(self.path)
            self.send_response(200 if document else 404)
            self.end_headers()
            self.wfile.write(json.dumps(document or {}).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", documents
    server.shutdown()


def token(issuer, **claims):
    now = int(time.time())
    claims = {"iss": issuer, "aud": "inventory", "sub": "s", "client_id": "s", "jti": "1", "iat": now, "exp": now + 60} | claims
    return jwt.encode(claims, KEY, algorithm="ES256", headers={"kid": "a", "typ": "at+jwt"})


def publish(documents, issuer, path):
    jwk = json.loads(ECAlgorithm.to_jwk(KEY.public_key())) | {"kid": "a", "alg": "ES256", "use": "sig"}
    documents["/elsewhere/keys"] = {"keys": [jwk]}
    documents[path] = {"issuer": issuer, "jwks_uri": issuer.split("/", 3)[0] + "//" + issuer.split("/")[2] + "/elsewhere/keys"}


def verifier_of(issuer):
    # The issuer may begin to run later, and is asked again.
    return Verifier([discover(issuer, cooldown=1)])


@pytest.mark.parametrize("suffix", ["", "/", "/sso/tokens", "/sso/tokens/"])
def test_keys_are_where_the_metadata_say(served, suffix):
    place, documents = served
    issuer = place + suffix
    verifier = verifier_of(issuer)
    with pytest.raises(Denied) as denied:
        verifier.verify(token(issuer), "inventory")
    assert denied.value.reason == "TRUST_UNAVAILABLE"
    publish(documents, issuer, suffix.rstrip("/") + "/.well-known/openid-configuration")
    deadline = time.monotonic() + 20
    while True:
        try:
            assert verifier.verify(token(issuer), "inventory").client_id == "s"
            return
        except Denied as denied:
            assert denied.is_transient and time.monotonic() < deadline
            time.sleep(0.1)


def test_metadata_of_another_issuer_are_refused(served):
    place, documents = served
    publish(documents, place + "/other", "/.well-known/openid-configuration")
    with pytest.raises(Denied) as denied:
        verifier_of(place).verify(token(place), "inventory")
    assert denied.value.reason == "TRUST_UNAVAILABLE"


def test_clocks_may_disagree_by_five_seconds(served):
    place, documents = served
    publish(documents, place, "/.well-known/openid-configuration")
    verifier, now = verifier_of(place), int(time.time())
    for claims in ({"iat": now + 3}, {"nbf": now + 3}, {"exp": now - 3}):
        verifier.verify(token(place, **claims), "inventory")
    for claims in ({"iat": now + 10}, {"nbf": now + 10}, {"exp": now - 10}):
        with pytest.raises(Denied):
            verifier.verify(token(place, **claims), "inventory")
