"""Every forged token of the gallery, and which of them get through; gallery.json has them on record."""

import json
from pathlib import Path

import jwt
import pytest

from token_verifier import TokenVerifier

ROOT = Path(__file__).parents[3]
GALLERY = json.loads((ROOT / "token-interceptor/testdata/forgeries.json").read_text())
RECORD = json.loads((ROOT / "tests/interop/gallery.json").read_text())
ISSUER, AUDIENCE = GALLERY["issuer"], GALLERY["audience"]


class Keys(jwt.PyJWKClient):
    """The gallery's JWK Set, as if it had been fetched."""

    def fetch_data(self):
        return GALLERY["jwks"]


KEYS = Keys(f"{ISSUER}/jwks.json")


def alone(token):
    key = KEYS.get_signing_key_from_jwt(token)
    return jwt.decode(token, key, algorithms=["ES256"], audience=AUDIENCE, issuer=ISSUER)


@pytest.mark.parametrize(
    ("name", "verify"),
    [("PyJWT", alone), ("PyJWT, token_verifier.py", TokenVerifier(ISSUER, AUDIENCE, KEYS, {}).verify)],
)
def test_accepts_what_is_on_record(name, verify):
    for good in GALLERY["good"]:
        verify(good["token"])
    accepted = []
    for forgery in GALLERY["forgeries"]:
        try:
            verify(forgery["token"])
            accepted.append(forgery["name"])
        except jwt.PyJWTError:
            pass
    assert len(GALLERY["forgeries"]) > 100
    assert accepted == RECORD[name]
