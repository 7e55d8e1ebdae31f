"""The source of the verifier's keys, and the allowed difference of the clocks."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from token_verifier import TokenVerifier

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


@pytest.mark.parametrize("suffix", ["", "/", "/sso/tokens", "/sso/tokens/"])
def test_keys_are_where_the_metadata_say(served, suffix):
    place, documents = served
    issuer = place + suffix
    verifier = TokenVerifier.of_jwks(issuer, "inventory", {})
    # The issuer is not running yet. The verifier starts without it and asks again.
    with pytest.raises(jwt.PyJWKClientConnectionError):
        verifier.verify(token(issuer))
    publish(documents, issuer, suffix.rstrip("/") + "/.well-known/openid-configuration")
    assert verifier.verify(token(issuer))["client_id"] == "s"


def test_metadata_of_another_issuer_are_refused(served):
    place, documents = served
    publish(documents, place + "/other", "/.well-known/openid-configuration")
    with pytest.raises(jwt.PyJWKClientConnectionError):
        TokenVerifier.of_jwks(place, "inventory", {}).verify(token(place))


def test_clocks_may_disagree_by_five_seconds(served):
    place, documents = served
    publish(documents, place, "/.well-known/openid-configuration")
    verifier, now = TokenVerifier.of_jwks(place, "inventory", {}), int(time.time())
    for claims in ({"iat": now + 3}, {"nbf": now + 3}, {"exp": now - 3}):
        verifier.verify(token(place, **claims))
    for claims in ({"iat": now + 10}, {"nbf": now + 10}, {"exp": now - 10}):
        with pytest.raises(jwt.PyJWTError):
            verifier.verify(token(place, **claims))
