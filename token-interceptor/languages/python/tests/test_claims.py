"""Claims with allowed values, and public methods with `identify`."""

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from m2m.auth.v1 import annotations_pb2
from m2m_token.client import LinkedDemands
from m2m_token.errors import PolicyError
from m2m_token.policy import ClaimRequirement, Policy, Requirement

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
        {"require": {"claims": [{"claim": "appid", "values": ["a"]}]}},
        {"require": {"claims": [{"claim": "/scp/0", "values": ["a"]}]}},
        {"require": {"claims": [{"claim": "/a~b", "values": ["a"]}]}},
        {"identify": True},
        {"identify": True, "require": {}},
    ],
)
def test_claims_and_identify_that_contradict_stop_the_start(option):
    with pytest.raises(PolicyError):
        _policy(**option)


def test_identify_accepts_any_token_and_none_and_claims_are_read():
    method = _policy(public=True, identify=True).demand("/one.S/Get")
    assert (method.requirement, method.optional) == (Requirement(), True)
    required = _policy(require={"claims": [{"claim": "tenant", "values": ["acme"]}]}).demand("/one.S/Get")
    assert required.requirement.claims == (ClaimRequirement("tenant", ("acme",)),)


def _in_the_pool(name: str, annotation: bytes) -> str:
    """Links in a service whose one method has this encoded annotation, and returns its name."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=name)
    file.dependency.append("m2m/auth/v1/annotations.proto")
    file.message_type.add(name="M")
    method = file.service.add(name="S").method.add(
        name="Get", input_type=f".{name}.M", output_type=f".{name}.M"
    )
    # The extension 50880, as a message.
    method.options.MergeFromString(b"\x82\xec\x18" + bytes([len(annotation)]) + annotation)
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    return f"{name}.S"


# Field 1000, a varint: at the method, in its requirement, in a claim of it.
_LATER = b"\xc0\x3e\x01"
_CLAIM = b"\x0a\x01t\x12\x01a" + _LATER


@pytest.mark.parametrize(
    ("name", "annotation"),
    [
        ("later_public", b"\x08\x01" + _LATER),
        ("later_require", b"\x12" + bytes([len(_LATER)]) + _LATER),
        ("later_claim", b"\x12" + bytes([len(_CLAIM) + 2]) + b"\x32" + bytes([len(_CLAIM)]) + _CLAIM),
    ],
)
def test_a_field_of_a_later_contract_stops_the_start(name, annotation):
    service = _in_the_pool(name, annotation)
    with pytest.raises(PolicyError, match=rf"{name}\.S\.Get: .* number 1000"):
        Policy.of_services([service])
    assert LinkedDemands().of(f"/{name}.S/Get").request is None
