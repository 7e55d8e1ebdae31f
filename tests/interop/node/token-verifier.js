// Protects a gRPC server with access tokens of one issuer (RFC 9068). Uses jose and the issuer's JWK Set.

import grpc from '@grpc/grpc-js'
import { createRemoteJWKSet, errors, jwtVerify } from 'jose'
import protobuf from 'protobufjs'

/** The allowed difference of the clocks of issuer and verifier. */
const CLOCK_SKEW_SECONDS = 5

/** Marks a method that needs no token, in place of a scope. No scope contains a space. */
export const PUBLIC = 'no token'

/** @typedef {import('jose').JWTPayload} Claims */

const rpc = protobuf.parse(
  `syntax = "proto3";
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }`,
).root

const { PERMISSION_DENIED, UNAUTHENTICATED, UNAVAILABLE } = grpc.status

/**
 * Returns the issuer's JWK Set from the `jwks_uri` of its metadata. The first token fetches both. After a failure, the
 * next token tries again.
 * @param {string} issuer
 * @returns {import('jose').JWTVerifyGetKey}
 */
export function keysOf(issuer) {
  /** @type {Promise<import('jose').JWTVerifyGetKey> | undefined} */
  let keys
  return async (header, token) => {
    keys ??= discover(issuer)
    const found = await keys.catch((error) => {
      keys = undefined
      throw error
    })
    return found(header, token)
  }
}

/** @param {string} issuer */
async function discover(issuer) {
  const url = `${issuer.replace(/\/+$/, '')}/.well-known/openid-configuration`
  const answer = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(10_000) })
  if (!answer.ok) throw new Error(`the issuer's metadata are answered with ${answer.status}`)
  const metadata = await answer.json()
  if (metadata.issuer !== issuer) throw new Error('the metadata are those of another issuer')
  return createRemoteJWKSet(new URL(metadata.jwks_uri))
}

/**
 * A rejection, with its reason of m2m.token.v1 and a message. Programs and our client layer use the reason.
 */
class Refused extends Error {
  /**
   * @param {grpc.status} code
   * @param {string} reason
   * @param {string} details
   * @param {string} [scope] the missing scope
   */
  constructor(code, reason, details, scope) {
    super(details)
    this.code = code
    this.reason = reason
    this.scope = scope
  }

  /** Returns the status, with google.rpc.ErrorInfo and the challenge of RFC 6750. */
  status() {
    const encode = (/** @type {string} */ type, /** @type {object} */ message) =>
      rpc.lookupType(type).encode(message).finish()
    const metadata = this.scope ? { scope: this.scope } : {}
    const info = encode('ErrorInfo', { reason: this.reason, domain: 'm2m.token.v1', metadata })
    const details = [{ typeUrl: 'type.googleapis.com/google.rpc.ErrorInfo', value: info }]
    const trailers = new grpc.Metadata()
    const status = encode('Status', { code: this.code, message: this.message, details })
    trailers.set('grpc-status-details-bin', Buffer.from(status))
    if (this.scope) trailers.set('www-authenticate', `Bearer error="insufficient_scope", scope="${this.scope}"`)
    else if (this.reason === 'CREDENTIALS_MISSING') trailers.set('www-authenticate', 'Bearer')
    else if (this.code === UNAUTHENTICATED) trailers.set('www-authenticate', 'Bearer error="invalid_token"')
    return { code: this.code, details: this.message, metadata: trailers }
  }
}

export class TokenVerifier {
  /** @type {WeakMap<grpc.Metadata, Claims>} */
  #callers = new WeakMap()

  /**
   * @param {{ issuer: string, audience: string, scopes: Record<string, string>,
   *   keys?: import('jose').JWTVerifyGetKey }} options `scopes`: the scope of each full method name. A
   *   method without an entry is rejected, and a PUBLIC one is open. `keys`: by default the issuer's JWK Set.
   */
  constructor({ issuer, audience, scopes, keys = keysOf(issuer) }) {
    this.issuer = issuer
    this.audience = audience
    this.scopes = scopes
    this.keys = keys
  }

  /**
   * Returns the claims of a valid token. The library checks signature, issuer, audience, type and expiry. This
   * function checks the rest of RFC 9068.
   * @param {string} token
   */
  async verify(token) {
    const { payload } = await jwtVerify(token, this.keys, {
      issuer: this.issuer,
      audience: this.audience,
      typ: 'at+jwt',
      algorithms: ['ES256'],
      clockTolerance: CLOCK_SKEW_SECONDS,
      requiredClaims: ['exp', 'iat', 'sub', 'jti', 'client_id'],
    })
    for (const claim of [payload.sub, payload.jti, payload.client_id, payload.scope ?? 'none']) {
      if (typeof claim !== 'string' || !claim) throw new errors.JWTInvalid('a claim is not what it must be')
    }
    if (Number(payload.iat) > Date.now() / 1_000 + CLOCK_SKEW_SECONDS) throw new errors.JWTInvalid('not issued yet')
    if ('cnf' in payload) throw new errors.JWTInvalid('the token is good only with proof of its key')
    return payload
  }

  /**
   * Returns the verified claims of the current call.
   * @param {{ metadata: grpc.Metadata }} call
   */
  caller(call) {
    return this.#callers.get(call.metadata)
  }

  /**
   * For `new grpc.Server({ interceptors: [verifier.interceptor] })`.
   * @type {grpc.ServerInterceptor}
   */
  interceptor = (method, call) =>
    new grpc.ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, proceed) => {
            this.#authorize(method.path, metadata).then(
              (claims) => {
                if (claims) this.#callers.set(metadata, claims)
                proceed(metadata)
              },
              (refused) => call.sendStatus(refused.status()),
            )
          },
        }),
    })

  /**
   * @param {string} method
   * @param {grpc.Metadata} metadata
   */
  async #authorize(method, metadata) {
    const scope = this.scopes[method]
    if (!scope) throw new Refused(PERMISSION_DENIED, 'METHOD_NOT_DECLARED', 'the method declares no policy')
    if (scope === PUBLIC) return undefined
    const [header, another] = metadata.get('authorization').map(String)
    const token = header?.match(/^bearer (.+)$/i)?.[1]
    if (!token || another) throw new Refused(UNAUTHENTICATED, 'CREDENTIALS_MISSING', 'one bearer token is needed')
    const claims = await this.verify(token).catch((error) => {
      if (error instanceof errors.JWKSTimeout || !(error instanceof errors.JOSEError)) {
        throw new Refused(UNAVAILABLE, 'TRUST_UNAVAILABLE', "the issuer's keys are out of reach")
      }
      if (error instanceof errors.JWTExpired) throw new Refused(UNAUTHENTICATED, 'TOKEN_EXPIRED', 'the token has expired')
      throw new Refused(UNAUTHENTICATED, 'TOKEN_INVALID', 'the token is not good')
    })
    if (!String(claims.scope ?? '').split(' ').includes(scope)) {
      throw new Refused(PERMISSION_DENIED, 'SCOPE_INSUFFICIENT', `the token lacks the scope ${scope}`, scope)
    }
    return claims
  }
}
