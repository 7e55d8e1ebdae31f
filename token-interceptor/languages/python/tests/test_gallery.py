"""The gallery of forged tokens of the Rust layer: each is refused with the reason that it names."""

import json
from pathlib import Path

import pytest

from m2m_token.errors import Denied
from m2m_token.keys import KeySet
from m2m_token.verify import TrustedIssuer, Verifier

GALLERY = json.loads((Path(__file__).parents[3] / "testdata/forgeries.json").read_text(encoding="utf-8"))
# 2026-01-01T00:01:00Z
NOW = 1767225660.0


def verifier() -> Verifier:
    keys = KeySet.from_jwks(json.dumps(GALLERY["jwks"]).encode())
    assert (len(keys), keys.skipped) == (1, 3)
    return Verifier([TrustedIssuer.fixed(GALLERY["issuer"], keys)], clock=lambda: NOW)


@pytest.mark.parametrize("good", GALLERY["good"], ids=lambda good: good["name"])
def test_a_good_token_is_accepted(good):
    guard = verifier()
    for _ in range(2):
        assert guard.verify(good["token"], "inventory").token_id


@pytest.mark.parametrize("forgery", GALLERY["forgeries"], ids=lambda forgery: forgery["name"])
def test_a_forgery_is_refused(forgery):
    with pytest.raises(Denied) as refused:
        verifier().verify(forgery["token"], "inventory")
    assert refused.value.reason == forgery["reason"]
    assert forgery["token"] not in str(refused.value)


def test_the_gallery_is_complete():
    assert len(GALLERY["forgeries"]) >= 100
