"""Introspection, revocation, private_key_jwt and token exchange with Authlib."""

import json
import os
import subprocess
import time

import jwt
import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey

from world import AUDIENCE, CA_FILE, CLIENT_ID, CLIENT_SECRET, ISSUER

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


class ShortLived(PrivateKeyJWT):
    """Authlib's assertions are valid for an hour. This issuer accepts at most five minutes."""

    def sign(self, auth, token_endpoint):
        self.claims = {"exp": int(time.time()) + 60}
        return super().sign(auth, token_endpoint)


@pytest.fixture(scope="module")
def metadata():
    return requests.get(f"{ISSUER}/.well-known/oauth-authorization-server", verify=CA_FILE, timeout=10).json()


@pytest.fixture
def orders():
    return OAuth2Session(CLIENT_ID, CLIENT_SECRET)


@pytest.fixture(scope="module")
def keyed(metadata, tmp_path_factory):
    """A client that has a key pair and no secret, and may exchange tokens."""
    server, name = os.environ["TOKEN_SERVER"], "keyed-by-authlib"
    key = ECKey.generate_key("P-256")
    jwk = tmp_path_factory.mktemp("key") / "public.jwk"
    jwk.write_text(json.dumps(key.as_dict(private=False)))
    create = [server, "client", "create", name, "--grant", f"{AUDIENCE}=inventory.read"]
    create += ["--grant-type", "client_credentials", "--grant-type", EXCHANGE, "--subject-audience", AUDIENCE]
    subprocess.run(create, check=True, capture_output=True)
    subprocess.run([server, "client", "add-key", name, "--jwk", jwk], check=True, capture_output=True)
    session = OAuth2Session(name, key, token_endpoint_auth_method="private_key_jwt")
    # RFC 10070: the audience is the issuer and not the endpoint.
    session.register_client_auth_method(ShortLived(ISSUER, alg="ES256"))
    return session


def fetch(session, metadata, **parameters):
    parameters = {"grant_type": "client_credentials", "audience": AUDIENCE, "verify": CA_FILE} | parameters
    return session.fetch_token(metadata["token_endpoint"], **parameters)


def introspect(session, metadata, token):
    answer = session.introspect_token(metadata["introspection_endpoint"], token=token, verify=CA_FILE)
    assert answer.status_code == 200
    return answer.json()


def test_a_token_is_active_until_it_is_revoked(orders, metadata):
    token = fetch(orders, metadata)["access_token"]
    active = introspect(orders, metadata, token)
    assert active["active"] is True
    assert (active["client_id"], active["scope"], active["iss"]) == (CLIENT_ID, "inventory.read", ISSUER)
    assert active["jti"] == jwt.decode(token, options={"verify_signature": False})["jti"]
    revoked = orders.revoke_token(metadata["revocation_endpoint"], token=token, verify=CA_FILE)
    assert revoked.status_code == 200
    assert introspect(orders, metadata, token) == {"active": False}


def test_what_is_no_token_is_inactive_and_revoked_without_complaint(orders, metadata):
    assert introspect(orders, metadata, "no token") == {"active": False}
    answer = orders.revoke_token(metadata["revocation_endpoint"], token="no token", verify=CA_FILE)
    assert answer.status_code == 200


def test_a_key_pair_proves_a_client(keyed, metadata):
    token = fetch(keyed, metadata)["access_token"]
    assert jwt.decode(token, options={"verify_signature": False})["client_id"] == keyed.client_id


def test_an_exchanged_token_names_its_subject_and_its_actor(keyed, orders, metadata):
    subject = fetch(orders, metadata)["access_token"]
    exchanged = fetch(
        keyed, metadata, grant_type=EXCHANGE, subject_token=subject, subject_token_type=ACCESS_TOKEN
    )
    assert exchanged["issued_token_type"] == ACCESS_TOKEN
    claims = jwt.decode(exchanged["access_token"], options={"verify_signature": False})
    assert claims["sub"] == CLIENT_ID
    assert claims["client_id"] == keyed.client_id
    assert claims["act"]["sub"] == keyed.client_id
