/** The conformance executor of Node: tests/conformance/README.md says what it reads and writes. */

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { timestampFromMs } from '@bufbuild/protobuf/wkt'
import { Answer, BEFORE_HANDLER, MARK, milliseconds, type Trailer } from '../src/answers.js'
import { Denied, ERROR_DOMAIN, PolicyError } from '../src/errors.js'
import { FetchedKeys } from '../src/key-sources.js'
import { type Algorithm, KeySet } from '../src/keys.js'
import { Layer, refusalTrailers, withoutMarks } from '../src/layer.js'
import { Policy } from '../src/policy.js'
import { ALWAYS, Revocations, tokenHash } from '../src/revocations.js'
import type { Caller } from '../src/token.js'
import { TrustedIssuer, Verifier } from '../src/verify.js'
import * as pb from './gen/m2m/conformance/v1/conformance_pb.js'
import { simulate } from './simulation.js'

/** Answers one request. */
export async function answer(request: pb.ConformanceRequest): Promise<pb.ConformanceResponse> {
  try {
    switch (request.case.case) {
      case 'server': {
        const value = create(pb.ServerResultSchema, await serve(request.case.value))
        return create(pb.ConformanceResponseSchema, { result: { case: 'server', value } })
      }
      case 'client': {
        const value = create(pb.ClientResultSchema, simulate(request.case.value))
        return create(pb.ConformanceResponseSchema, { result: { case: 'client', value } })
      }
      default:
        return create(pb.ConformanceResponseSchema, { result: { case: 'unsupported', value: 'an unknown kind of case' } })
    }
  } catch (error) {
    return create(pb.ConformanceResponseSchema, { result: { case: 'error', value: String(error) } })
  }
}

async function serve(test: pb.ServerCase) {
  const now = test.now ? milliseconds(test.now) : 0
  let layer: Layer
  try {
    const demands = Policy.fromDescriptorSet(test.descriptors).serve(test.services)
    const issuers = test.issuers.map((issuer) => trusted(issuer, test))
    layer = new Layer(new Verifier(issuers, { clock: () => now }), demands, { observe: test.observe })
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error
    return { decision: { case: 'startError' as const, value: error.message } }
  }
  try {
    const { caller, wouldDeny } = await layer.enter(test.method, test.authorization)
    return {
      decision: { case: 'allowed' as const, value: callerOf(caller) },
      ...(wouldDeny && { wouldDeny: refusal(wouldDeny) }),
      marks: marks(withoutMarks(test.handlerMarks.map((mark): Trailer => [MARK, mark]))),
    }
  } catch (error) {
    if (!(error instanceof Denied)) throw error
    return {
      decision: { case: 'refused' as const, value: refusal(error) },
      marks: marks(refusalTrailers(error, BEFORE_HANDLER, test.method)),
    }
  }
}

function trusted(issuer: pb.TrustedIssuer, test: pb.ServerCase): TrustedIssuer {
  const fetch = async () => {
    if (issuer.unreachable) throw new Error('unreachable')
    return KeySet.fromJwks(issuer.jwks)
  }
  const revocations = new Revocations()
  for (const tokenId of test.revokedTokenIds) revocations.add(tokenHash(tokenId), ALWAYS, ALWAYS)
  const keys = new FetchedKeys(issuer.issuer, fetch, { revocations, clock: () => 0, draw: () => 0.5 })
  const algorithms = issuer.algorithms as Algorithm[]
  return new TrustedIssuer(issuer.issuer, keys, algorithms.length > 0 ? { algorithms } : {})
}

function refusal(denied: Denied): pb.Refusal {
  const { code, reason, metadata, challenge, retryAfter } = Answer.of(denied)
  return create(pb.RefusalSchema, {
    code,
    reason,
    domain: ERROR_DOMAIN,
    metadata,
    wwwAuthenticate: challenge,
    hasRetryInfo: retryAfter !== undefined,
  })
}

function callerOf(caller: Caller | undefined): pb.Caller {
  if (!caller) return create(pb.CallerSchema)
  const { issuer, subject, clientId, tokenId, scopes, expiresAt, actors } = caller
  return create(pb.CallerSchema, {
    issuer,
    subject,
    clientId,
    tokenId,
    scopes: [...scopes],
    expiresAt: timestampFromMs(expiresAt * 1_000),
    actors: actors.map((actor) => actor.subject),
  })
}

function marks(trailers: readonly Trailer[]): string[] {
  return trailers.filter(([name]) => name === MARK).map(([, value]) => String(value))
}

async function main(): Promise<void> {
  let buffered = Buffer.alloc(0)
  for await (const chunk of process.stdin) {
    buffered = Buffer.concat([buffered, chunk as Buffer])
    while (buffered.length >= 4 && buffered.length >= 4 + buffered.readUInt32LE()) {
      const end = 4 + buffered.readUInt32LE()
      const request = fromBinary(pb.ConformanceRequestSchema, buffered.subarray(4, end))
      buffered = buffered.subarray(end)
      const response = toBinary(pb.ConformanceResponseSchema, await answer(request))
      const length = Buffer.alloc(4)
      length.writeUInt32LE(response.length)
      process.stdout.write(Buffer.concat([length, response]))
    }
  }
}

if (require.main === module) void main()
