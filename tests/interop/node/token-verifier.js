// Guards a gRPC server with access tokens of one issuer (RFC 9068), by jose: keys are the issuer's JWK Set.

import grpc from '@grpc/grpc-js'
import { createRemoteJWKSet, errors, jwtVerify } from 'jose'

/** How far the issuer's clock may be ahead. */
const CLOCK_SKEW_SECONDS = 5

/** @typedef {import('jose').JWTPayload} Claims */

/**
 * What is refused, and with which words.
 */
class Refused extends Error {
  /**
   * @param {grpc.status} code
   * @param {string} details
   */
  constructor(code, details) {
    super(details)
    this.code = code
  }
}

export class TokenVerifier {
  /** @type {WeakMap<grpc.Metadata, Claims>} */
  #callers = new WeakMap()

  /**
   * @param {{ issuer: string, audience: string, scopes: Record<string, string>,
   *   keys?: import('jose').JWTVerifyGetKey }} options `scopes`: the scope that each full method asks for; a
   *   method that is not there is refused. `keys`: the issuer's JWK Set unless given.
   */
  constructor({ issuer, audience, scopes, keys = createRemoteJWKSet(new URL('/jwks.json', issuer)) }) {
    this.issuer = issuer
    this.audience = audience
    this.scopes = scopes
    this.keys = keys
  }

  /**
   * The claims of a good token. The library checks signature, issuer, audience, type and expiry; the rest of
   * RFC 9068 it leaves to its users.
   * @param {string} token
   */
  async verify(token) {
    const { payload } = await jwtVerify(token, this.keys, {
      issuer: this.issuer,
      audience: this.audience,
      typ: 'at+jwt',
      algorithms: ['ES256'],
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
   * The verified claims of the call that is being served.
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
                this.#callers.set(metadata, claims)
                proceed(metadata)
              },
              (refused) => call.sendStatus({ code: refused.code, details: refused.message }),
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
    if (!scope) throw new Refused(grpc.status.PERMISSION_DENIED, 'the method declares no policy')
    const [header, another] = metadata.get('authorization').map(String)
    const token = header?.match(/^bearer (.+)$/i)?.[1]
    if (!token || another) throw new Refused(grpc.status.UNAUTHENTICATED, 'one bearer token is needed')
    const claims = await this.verify(token).catch((error) => {
      if (error instanceof errors.JWKSTimeout || !(error instanceof errors.JOSEError)) {
        throw new Refused(grpc.status.UNAVAILABLE, "the issuer's keys are out of reach")
      }
      throw new Refused(grpc.status.UNAUTHENTICATED, 'the token is not good')
    })
    if (!String(claims.scope ?? '').split(' ').includes(scope)) {
      throw new Refused(grpc.status.PERMISSION_DENIED, `the token lacks the scope ${scope}`)
    }
    return claims
  }
}
