"""Off-the-shelf Python clients get tokens from the issuer and verify them."""

import os
import ssl

import grpc
import jwt
import pytest
import requests
from authlib.integrations.requests_client import OAuth2Session
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from oauthlib.oauth2 import BackendApplicationClient
from requests_oauthlib import OAuth2Session as RequestsOAuth2Session

ISSUER = os.environ["TOKEN_ISSUER"]
CA_FILE = os.environ["TOKEN_CA_FILE"]
CLIENT_ID = os.environ["TOKEN_CLIENT_ID"]
CLIENT_SECRET = os.environ["TOKEN_CLIENT_SECRET"]
AUDIENCE = "inventory"


@pytest.fixture(scope="module")
def metadata():
    document = requests.get(f"{ISSUER}/.well-known/oauth-authorization-server", verify=CA_FILE, timeout=10).json()
    assert document["issuer"] == ISSUER
    return document


def claims_of(token, metadata):
    keys = jwt.PyJWKClient(metadata["jwks_uri"], ssl_context=ssl.create_default_context(cafile=CA_FILE))
    key = keys.get_signing_key_from_jwt(token)
    return jwt.decode(
        token,
        key,
        algorithms=["ES256"],
        audience=AUDIENCE,
        issuer=ISSUER,
        options={"require": ["exp", "iat", "iss", "aud", "sub", "jti"]},
    )


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_authlib_gets_a_token_that_pyjwt_accepts(metadata, method):
    client = OAuth2Session(CLIENT_ID, CLIENT_SECRET, token_endpoint_auth_method=method)
    token = client.fetch_token(
        metadata["token_endpoint"], grant_type="client_credentials", audience=AUDIENCE, verify=CA_FILE
    )
    assert token["token_type"] == "Bearer"
    claims = claims_of(token["access_token"], metadata)
    assert claims["client_id"] == claims["sub"] == CLIENT_ID
    assert claims["scope"] == token["scope"]
    assert jwt.get_unverified_header(token["access_token"])["typ"] == "at+jwt"


def test_requests_oauthlib_gets_a_token_that_pyjwt_accepts(metadata):
    session = RequestsOAuth2Session(client=BackendApplicationClient(client_id=CLIENT_ID))
    token = session.fetch_token(
        metadata["token_endpoint"],
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        audience=AUDIENCE,
        verify=CA_FILE,
    )
    assert claims_of(token["access_token"], metadata)["aud"] == AUDIENCE


def test_requests_oauthlib_calls_with_its_token_and_revokes_it(metadata):
    client = BackendApplicationClient(client_id=CLIENT_ID)
    session = RequestsOAuth2Session(client=client)
    session.fetch_token(
        metadata["token_endpoint"], client_secret=CLIENT_SECRET, audience=AUDIENCE, verify=CA_FILE
    )
    userinfo = f"{ISSUER}/userinfo"
    assert session.get(userinfo, verify=CA_FILE, timeout=10).json()["sub"] == CLIENT_ID
    address, headers, form = client.prepare_token_revocation_request(
        metadata["revocation_endpoint"], session.token["access_token"]
    )
    revoked = requests.post(
        address, data=form, headers=headers, auth=(CLIENT_ID, CLIENT_SECRET), verify=CA_FILE, timeout=10
    )
    assert revoked.status_code == 200
    refused = session.get(userinfo, verify=CA_FILE, timeout=10)
    assert refused.status_code == 401
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]


def test_a_wrong_secret_is_invalid_client(metadata):
    answer = requests.post(
        metadata["token_endpoint"],
        data={"grant_type": "client_credentials"},
        auth=(CLIENT_ID, CLIENT_SECRET[:-1] + ("A" if CLIENT_SECRET[-1] != "A" else "B")),
        verify=CA_FILE,
        timeout=10,
    )
    assert answer.status_code == 401
    assert answer.json()["error"] == "invalid_client"
    assert answer.headers["www-authenticate"].startswith("Basic ")


def test_a_scope_beyond_the_registered_ones_is_invalid_scope(metadata):
    answer = requests.post(
        metadata["token_endpoint"],
        data={"grant_type": "client_credentials", "audience": AUDIENCE, "scope": "inventory.destroy"},
        auth=(CLIENT_ID, CLIENT_SECRET),
        verify=CA_FILE,
        timeout=10,
    )
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_scope"


def test_pyjwt_refuses_a_token_for_another_audience(metadata):
    client = OAuth2Session(CLIENT_ID, CLIENT_SECRET)
    token = client.fetch_token(
        metadata["token_endpoint"], grant_type="client_credentials", audience=AUDIENCE, verify=CA_FILE
    )
    keys = jwt.PyJWKClient(metadata["jwks_uri"], ssl_context=ssl.create_default_context(cafile=CA_FILE))
    key = keys.get_signing_key_from_jwt(token["access_token"])
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(token["access_token"], key, algorithms=["ES256"], audience="elsewhere", issuer=ISSUER)


def test_a_client_that_knows_only_reflection_gets_a_token(metadata):
    with open(CA_FILE, "rb") as ca:
        credentials = grpc.ssl_channel_credentials(ca.read())
    with grpc.secure_channel(ISSUER.removeprefix("https://"), credentials) as channel:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        request = message_factory.GetMessageClass(pool.FindMessageTypeByName("m2m.token.v1.IssueTokenRequest"))()
        response = message_factory.GetMessageClass(pool.FindMessageTypeByName("m2m.token.v1.IssueTokenResponse"))
        request.client.client_id = CLIENT_ID
        request.client.client_secret = CLIENT_SECRET
        request.audiences.append(AUDIENCE)
        issue = channel.unary_unary(
            "/m2m.token.v1.TokenService/IssueToken",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        token = issue(request, timeout=10).token
    assert claims_of(token.value, metadata)["jti"] == token.token_id
