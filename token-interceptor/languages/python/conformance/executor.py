"""The conformance executor of Python: tests/conformance/README.md says what it reads and writes."""

import struct
import sys
from typing import BinaryIO

from google.protobuf import descriptor_pb2, timestamp_pb2

import simulation
from m2m.conformance.v1 import conformance_pb2 as pb
from m2m.token.v1 import trust_service_pb2
from m2m_token import answers, issuers, revocations
from m2m_token.errors import ERROR_DOMAIN, Denied, PolicyError
from m2m_token.key_sources import FetchedKeys
from m2m_token.keys import KeySet
from m2m_token.layer import Layer, refusal_trailers, without_marks
from m2m_token.policy import Policy
from m2m_token.token import Caller
from m2m_token.verify import TrustedIssuer, Verifier


def main(requests: BinaryIO, responses: BinaryIO) -> None:
    while length := requests.read(4):
        (size,) = struct.unpack("<I", length)
        response = answer(pb.ConformanceRequest.FromString(requests.read(size))).SerializeToString()
        responses.write(struct.pack("<I", len(response)) + response)
        responses.flush()


def answer(request: pb.ConformanceRequest) -> pb.ConformanceResponse:
    try:
        kind = request.WhichOneof("case")
        if kind == "server":
            return pb.ConformanceResponse(server=server(request.server))
        if kind == "client":
            return pb.ConformanceResponse(client=simulation.run(request.client))
        return pb.ConformanceResponse(unsupported="an unknown kind of case")
    except Exception as error:
        return pb.ConformanceResponse(error=f"{type(error).__name__}: {error}")


def server(case: pb.ServerCase) -> pb.ServerResult:
    now = case.now.seconds + case.now.nanos / 1e9
    try:
        policy = Policy.of_files(files(case.descriptors), case.services)
        verifier = Verifier([trusted(issuer, case) for issuer in case.issuers], clock=lambda: now)
        layer = Layer(verifier, policy, observe=case.observe)
    except PolicyError as error:
        return pb.ServerResult(start_error=str(error))
    try:
        entry = layer.enter(case.method, case.authorization)
    except Denied as denied:
        trailers = refusal_trailers(denied, answers.BEFORE_HANDLER, case.method)
        return pb.ServerResult(refused=refusal(denied), marks=marks(trailers))
    result = pb.ServerResult(
        allowed=caller(entry.caller),
        marks=marks(without_marks([(answers.MARK, value) for value in case.handler_marks])),
    )
    if entry.would_deny is not None:
        result.would_deny.CopyFrom(refusal(entry.would_deny))
    return result


def files(encoded: bytes) -> list[descriptor_pb2.FileDescriptorProto]:
    """Reads a FileDescriptorSet."""
    return list(descriptor_pb2.FileDescriptorSet.FromString(encoded).file)


def trusted(issuer: pb.TrustedIssuer, case: pb.ServerCase) -> TrustedIssuer:
    def fetch() -> KeySet:
        if issuer.unreachable:
            raise OSError("unreachable")
        return KeySet.from_jwks(issuer.jwks)

    revoked = revocations.Revocations()
    for token_id in case.revoked_token_ids:
        pushed = trust_service_pb2.Revocation(token_hash=revocations.token_hash(token_id))
        issuers.apply_revocation(revoked, pushed)
    keys = FetchedKeys(
        issuer.issuer, fetch, clock=lambda: 0.0, draw=lambda: 0.5, revocations=revoked, background=False
    )
    return TrustedIssuer(issuer.issuer, keys).limited(algorithms=list(issuer.algorithms) or None)


def refusal(denied: Denied) -> pb.Refusal:
    answer = answers.Answer.of(denied)
    return pb.Refusal(
        code=answer.code,
        reason=answer.reason,
        domain=ERROR_DOMAIN,
        metadata=answer.metadata,
        www_authenticate=answer.challenge,
        has_retry_info=answer.retry_after is not None,
    )


def caller(found: Caller | None) -> pb.Caller:
    if found is None:
        return pb.Caller()
    return pb.Caller(
        issuer=found.issuer,
        subject=found.subject,
        client_id=found.client_id,
        token_id=found.token_id,
        scopes=found.scopes,
        expires_at=timestamp_pb2.Timestamp(seconds=found.expires_at),
        actors=[actor.subject for actor in found.actors],
    )


def marks(trailers: list[tuple[str, str | bytes]]) -> list[str]:
    return [str(value) for key, value in trailers if key == answers.MARK]


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
