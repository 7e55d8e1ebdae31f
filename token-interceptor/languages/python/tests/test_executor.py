"""The conformance executor, by cases made here."""

import io
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, duration_pb2, timestamp_pb2

import executor
from conformance.catalog.v1 import catalog_pb2
from m2m.conformance.v1 import conformance_pb2 as pb

GALLERY = json.loads((Path(__file__).parents[3] / "testdata/forgeries.json").read_text(encoding="utf-8"))
NOW = timestamp_pb2.Timestamp(seconds=1767225660)
CATALOG = "conformance.catalog.v1.Catalog"
PING = f"/{CATALOG}/Ping"
GET = f"/{CATALOG}/Get"


def descriptors() -> descriptor_pb2.FileDescriptorSet:
    found = descriptor_pb2.FileDescriptorSet()

    def add(file):
        for dependency in file.dependencies:
            add(dependency)
        if file.name not in [known.name for known in found.file]:
            file.CopyToProto(found.file.add())

    add(catalog_pb2.DESCRIPTOR)
    return found


def gallery_descriptors(public: bool = False) -> descriptor_pb2.FileDescriptorSet:
    """The catalog, for the audience of the gallery."""
    from m2m.auth.v1 import annotations_pb2

    found = descriptors()
    for file in found.file:
        for service in file.service:
            service.options.Extensions[annotations_pb2.service].audience = "inventory"
    return found


def server_case(token: str, **fields) -> pb.ServerCase:
    case = pb.ServerCase(
        descriptors=gallery_descriptors().SerializeToString(),
        services=[CATALOG],
        issuers=[pb.TrustedIssuer(issuer=GALLERY["issuer"], jwks=json.dumps(GALLERY["jwks"]).encode())],
        now=NOW,
        method=f"/{CATALOG}/Touch",
        authorization=[f"Bearer {token}"] if token else [],
    )
    for name, value in fields.items():
        field = getattr(case, name)
        if isinstance(value, list):
            del field[:]
            field.extend(value)
        else:
            setattr(case, name, value)
    return case


def run_server(token: str, **fields) -> pb.ServerResult:
    response = executor.answer(pb.ConformanceRequest(server=server_case(token, **fields)))
    assert not response.error, response.error
    return response.server


GOOD = GALLERY["good"][0]["token"]


@pytest.mark.parametrize("forgery", GALLERY["forgeries"], ids=lambda forgery: forgery["name"])
def test_a_forgery_gets_the_reason_that_it_names(forgery):
    result = run_server(forgery["token"])
    assert result.refused.reason == forgery["reason"]
    renewable = forgery["reason"] in ("TOKEN_INVALID", "TOKEN_EXPIRED", "TOKEN_REVOKED", "TOKEN_KEY_UNKNOWN")
    assert list(result.marks) == ([f"before-handler /{CATALOG}/Touch"] if renewable else [])


@pytest.mark.parametrize("good", GALLERY["good"], ids=lambda good: good["name"])
def test_a_good_token_is_allowed_without_the_marks_of_its_handler(good):
    result = run_server(good["token"], handler_marks=["before-handler /a/B"])
    assert result.allowed.client_id and not result.marks


def test_a_server_with_a_forgotten_method_does_not_start():
    result = run_server(GOOD, services=["conformance.catalog.v1.Forgotten", "a.Missing"])
    assert "a.Missing" in result.start_error
    result = run_server(GOOD, services=["conformance.catalog.v1.Forgotten"])
    assert "Forgotten/Get" in result.start_error


def test_callers_of_several_issuers_stop_the_start():
    issuer = pb.TrustedIssuer(issuer=GALLERY["issuer"], jwks=b'{"keys":[]}')
    other = pb.TrustedIssuer(issuer="https://other.example", jwks=b'{"keys":[]}')
    assert "Audit" in run_server(GOOD, issuers=[issuer, other]).start_error


def test_unreachable_keys_are_an_outage():
    unreachable = pb.TrustedIssuer(issuer=GALLERY["issuer"], unreachable=True)
    for issuer in (unreachable, pb.TrustedIssuer(issuer=GALLERY["issuer"], jwks=b"{")):
        refused = run_server(GOOD, issuers=[issuer]).refused
        assert (refused.code, refused.reason, refused.has_retry_info) == (14, "TRUST_UNAVAILABLE", True)
    empty = pb.TrustedIssuer(issuer=GALLERY["issuer"], jwks=b'{"keys":[]}')
    assert run_server(GOOD, issuers=[empty]).refused.reason == "TOKEN_KEY_UNKNOWN"


def test_a_scope_that_is_missing_is_named():
    refused = run_server(GOOD, method=f"/{CATALOG}/Put").refused
    assert refused.metadata["scope"] == "catalog.write catalog.admin"
    assert (
        refused.www_authenticate == 'Bearer error="insufficient_scope", scope="catalog.write catalog.admin"'
    )


def test_public_unknown_and_observed_methods():
    assert run_server("", method=PING).HasField("allowed")
    assert run_server(GOOD, method="/a.B/C").refused.reason == "METHOD_NOT_DECLARED"
    assert run_server("").refused.www_authenticate == "Bearer"
    observed = run_server("", observe=True)
    assert observed.HasField("allowed") and observed.would_deny.reason == "CREDENTIALS_MISSING"


def test_a_revoked_token_is_refused():
    token_id = run_server(GOOD).allowed.token_id
    assert run_server(GOOD, revoked_token_ids=[token_id]).refused.reason == "TOKEN_REVOKED"


def seconds(value: float) -> duration_pb2.Duration:
    return duration_pb2.Duration(seconds=int(value), nanos=round(value % 1 * 1e9))


def token(value: str, **members) -> pb.IssuerAnswer:
    body = {"access_token": value, "token_type": "Bearer", "expires_in": 60, **members}
    return pb.IssuerAnswer(status=200, body=json.dumps(body).encode())


def run_client(answers, calls, until: float, draw: float = 0.5, **fields) -> pb.ClientResult:
    case = pb.ClientCase(
        descriptors=descriptors().SerializeToString(),
        answers=answers,
        calls=calls,
        until=seconds(until),
        draw=draw,
        start=NOW,
        **fields,
    )
    response = executor.answer(pb.ConformanceRequest(client=case))
    assert not response.error, response.error
    return response.client


def call(at: float, method: str = GET, **fields) -> pb.Call:
    return pb.Call(at=seconds(at), method=method, **fields)


def times(result: pb.ClientResult) -> list[float]:
    return [request.at.seconds + request.at.nanos / 1e9 for request in result.requests]


def test_a_token_is_renewed_before_it_expires():
    result = run_client([token("a"), token("b")], [call(0), call(1), call(50)], 60)
    assert times(result) == [0, 60 * 0.725]
    assert [list(done.attempts) for done in result.calls] == [["a"], ["a"], ["b"]]
    assert result.requests[0].audience == "catalog" and list(result.requests[0].scopes) == ["catalog.read"]


def test_a_public_method_gets_no_token():
    result = run_client([], [call(0, PING), call(0, "/a.B/C")], 1)
    assert not result.requests and [list(done.attempts) for done in result.calls] == [[""], [""]]


def test_calls_share_one_failure_and_the_pause_after_it():
    failure = pb.IssuerAnswer(connection_failed=True)
    result = run_client([failure, token("a")], [call(0), call(0), call(0.02), call(1)], 2)
    assert [(done.code, done.reason) for done in result.calls[:3]] == [(14, "ISSUER_UNAVAILABLE")] * 3
    assert times(result) == [0, 0.05]
    assert list(result.calls[3].attempts) == ["a"]


def test_a_refusal_has_its_own_code():
    refused = pb.IssuerAnswer(status=401, body=b'{"error":"invalid_client"}')
    result = run_client([refused], [call(0)], 2)
    assert (result.calls[0].code, result.calls[0].reason) == (16, "CLIENT_AUTHENTICATION_FAILED")


def test_a_stalled_issuer_ends_the_wait_by_deadline_or_patience():
    result = run_client([], [call(0, deadline=seconds(1)), call(0)], 20)
    assert [done.code for done in result.calls] == [4, 14]
    assert [done.at.seconds for done in result.calls] == [1, 10]


def test_a_marked_refusal_is_replayed_once():
    refusal = pb.ServerAnswer(code=16, reason="TOKEN_REVOKED", marks=[f"before-handler {GET}"])
    result = run_client([token("a"), token("b")], [call(0, answers=[refusal])], 1)
    assert list(result.calls[0].attempts) == ["a", "b"] and result.calls[0].code == 0
    unmarked = pb.ServerAnswer(code=16, reason="TOKEN_REVOKED")
    result = run_client([token("a"), token("b")], [call(0, answers=[unmarked])], 1)
    assert list(result.calls[0].attempts) == ["a"] and result.calls[0].code == 16


def test_the_wall_clock_ends_a_token_too():
    jump = pb.ClockJump(at=seconds(1), by=seconds(100))
    result = run_client([token("a"), token("b")], [call(0), call(2)], 3, jumps=[jump])
    assert list(result.calls[1].attempts) == ["b"]


def test_a_pending_call_is_reported():
    result = run_client([], [call(0)], 1)
    assert result.calls[0].code == -1


def test_the_process_speaks_length_prefixed_messages():
    requests = io.BytesIO()
    for _ in range(2):
        message = pb.ConformanceRequest(server=server_case("")).SerializeToString()
        requests.write(struct.pack("<I", len(message)) + message)
    command = [sys.executable, str(Path(executor.__file__))]
    paths = [path for path in sys.path if path]
    ended = subprocess.run(
        command,
        input=requests.getvalue(),
        capture_output=True,
        env={"PYTHONPATH": ":".join(paths)},
        check=True,
    )
    (length,) = struct.unpack("<I", ended.stdout[:4])
    response = pb.ConformanceResponse.FromString(ended.stdout[4 : 4 + length])
    assert response.server.refused.reason == "CREDENTIALS_MISSING"
    assert len(ended.stdout) == 2 * (4 + length)
