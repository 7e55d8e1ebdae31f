"""Claims with allowed values, and public methods with `identify`."""

import pytest
from google.protobuf import descriptor_pb2

from m2m.auth.v1 import annotations_pb2
from m2m_token.errors import PolicyError
from m2m_token.policy import ClaimRequirement, Policy

TENANT = ClaimRequirement("tenant", ("acme", "globex"))
DEEP = ClaimRequirement("/a~1b/0/~0", ("x",))


@pytest.mark.parametrize(
    ("claim", "claims", "allowed"),
    [
        (TENANT, {"tenant": "globex"}, True),
        (TENANT, {"tenant": "initech"}, False),
        (TENANT, {"tenant": ["initech", "acme"]}, True),
        (TENANT, {"tenant": [["acme"]]}, False),
        (TENANT, {"tenant": {"acme": "acme"}}, False),
        (TENANT, {}, False),
        (DEEP, {"a/b": [{"~": "x"}]}, True),
        (DEEP, {"a/b": {"0": {"~": "x"}}}, True),
        (DEEP, {"a/b": []}, False),
        (DEEP, {"/a~1b/0/~0": "x"}, False),
    ],
)
def test_a_claim_is_one_of_the_values_or_a_list_with_one(claim, claims, allowed):
    assert claim.allows(claims) is allowed


def _policy(**option):
    file = descriptor_pb2.FileDescriptorProto(name="one.proto", package="one")
    method = file.service.add(name="S").method.add(name="Get")
    method.options.Extensions[annotations_pb2.method].CopyFrom(annotations_pb2.MethodAuthorization(**option))
    return Policy.of_files([file], ["one.S"])


@pytest.mark.parametrize(
    "option",
    [
        {"require": {"claims": [{"claim": "tenant"}]}},
        {"require": {"claims": [{"values": ["a"]}]}},
        {"require": {"claims": [{"claim": "scope", "values": ["a"]}]}},
        {"require": {"claims": [{"claim": "/client_id", "values": ["a"]}]}},
        {"require": {"claims": [{"claim": "/a~b", "values": ["a"]}]}},
        {"identify": True},
        {"identify": True, "require": {}},
    ],
)
def test_claims_and_identify_that_contradict_stop_the_start(option):
    with pytest.raises(PolicyError):
        _policy(**option)


def test_identify_reads_as_public_and_claims_are_read():
    assert _policy(public=True, identify=True).demand("/one.S/Get").requirement is None
    required = _policy(require={"claims": [{"claim": "tenant", "values": ["acme"]}]}).demand("/one.S/Get")
    assert required.requirement.claims == (ClaimRequirement("tenant", ("acme",)),)
