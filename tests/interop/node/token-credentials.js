// Attaches access tokens to gRPC calls. Gets them from a TokenService with the client's secret
// (RFC 6749 section 4.4), caches them, and renews them before they expire.
//
//   const tokens = TokenCredentials.connect({ issuer: 'localhost:8443', clientId: 'orders', clientSecret, audience: 'inventory' })
//   const client = new InventoryService(target, tokens.channelCredentials())

import { join } from 'node:path'
import grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import protobuf from 'protobufjs'

/** The time limit of a request to the issuer. It does not depend on the deadline of the call. */
const FETCH_TIMEOUT_MS = 30_000

/**
 * A time on both clocks, in milliseconds. The monotonic clock stops while the machine is suspended. The other
 * clock can be set.
 * @typedef {{ monotonic: number, wall: number }} Instant
 * @typedef {{ header: string, renewAt: Instant, expires: Instant }} Token
 * @typedef {{ seconds: string | number, nanos: number }} Duration
 * @typedef {{ token: { value: string, expiresIn: Duration, refreshAfter: Duration } }} Issued
 */

/** Call credentials for one audience. */
export class TokenCredentials {
  #issue
  #clock
  #jitter
  /** @type {Token | undefined} the newest token, which may have expired */
  #token
  /** @type {Promise<Token> | undefined} the request in flight, shared by all waiting calls */
  #flight
  /** @type {Error | undefined} the error of the last request, if it failed */
  #failure
  #attempts = 0
  /** @type {Instant | undefined} the time of the next allowed request */
  #retryAt

  /**
   * @param {() => Promise<Issued>} issue sends one request; see `connect`
   * @param {{ clock?: () => Instant, jitter?: () => number }} [injected]
   */
  constructor(issue, { clock = systemClock, jitter = Math.random } = {}) {
    this.#issue = issue
    this.#clock = clock
    this.#jitter = jitter
  }

  /**
   * Returns credentials from the token service at `issuer` ("host:port"), over TLS. Without scopes, requests
   * the client's default scopes. Without roots, trusts Node's own. The first call fetches the first token.
   * @param {{ issuer: string, clientId: string, clientSecret: string, audience: string, scopes?: string[],
   *   rootCertificates?: Buffer, protos: string }} options `protos` is the folder of m2m/token/v1
   */
  static connect({ issuer, clientId, clientSecret, audience, scopes = [], rootCertificates, protos }) {
    const file = loadSync(join(protos, 'm2m/token/v1/token_service.proto'), { includeDirs: [protos] })
    const { TokenService } = /** @type {any} */ (grpc.loadPackageDefinition(file)).m2m.token.v1
    const client = new TokenService(issuer, grpc.credentials.createSsl(rootCertificates))
    const request = { client: { clientId, clientSecret }, audiences: [audience], scopes }
    return new TokenCredentials(
      () =>
        new Promise((resolve, reject) => {
          const deadline = Date.now() + FETCH_TIMEOUT_MS
          client.issueToken(request, { deadline }, (/** @type {any} */ error, /** @type {any} */ answer) =>
            error ? reject(error) : resolve(answer),
          )
        }),
    )
  }

  /**
   * Returns credentials for a channel. Credentials of a single call are not safe: @grpc/grpc-js sends them over
   * a plaintext connection too.
   * @param {Buffer} [rootCertificates]
   */
  channelCredentials(rootCertificates) {
    const call = grpc.credentials.createFromMetadataGenerator((_, done) => {
      this.header().then((header) => {
        const metadata = new grpc.Metadata()
        metadata.set('authorization', header)
        done(null, metadata)
      }, done)
    })
    return grpc.credentials.combineChannelCredentials(grpc.credentials.createSsl(rootCertificates), call)
  }

  /**
   * Returns the authorization header of an unexpired token. Waits for the issuer only if there is none.
   * @returns {Promise<string>}
   */
  async header() {
    const now = this.#clock()
    const usable = this.#token && !reached(now, this.#token.expires) ? this.#token : undefined
    const due = !usable || reached(now, usable.renewAt)
    if (due && !this.#flight && (!this.#retryAt || reached(now, this.#retryAt))) {
      this.#flight = this.#fetch(now).finally(() => {
        this.#flight = undefined
      })
      // If a renewal fails while a token is still valid, the rejection must not be unhandled.
      this.#flight.catch(() => {})
    }
    if (usable) return usable.header
    if (!this.#flight) throw this.#failure
    const token = await this.#flight
    if (reached(this.#clock(), token.expires)) throw noToken(grpc.status.UNAVAILABLE, 'it expired on its way')
    return token.header
  }

  /** @param {Instant} asked */
  async #fetch(asked) {
    try {
      const { token } = await this.#issue()
      // Both count from before the request, so the time on the network shortens them.
      this.#token = {
        header: `Bearer ${token.value}`,
        renewAt: later(asked, milliseconds(token.refreshAfter)),
        expires: later(asked, milliseconds(token.expiresIn)),
      }
      this.#failure = this.#retryAt = undefined
      this.#attempts = 0
      return this.#token
    } catch (error) {
      const { failure, base, limit, atLeast } = classify(error)
      // Full jitter, so that clients that failed together do not retry together.
      const backoff = this.#jitter() * Math.min(limit, base * 2 ** Math.min(this.#attempts, 16))
      this.#failure = failure
      this.#retryAt = later(this.#clock(), Math.max(backoff, atLeast))
      this.#attempts += 1
      throw failure
    }
  }
}

/**
 * Reads the issuer's google.rpc.Status: the reason, and the time to wait.
 * @param {any} error
 * @returns {{ reason?: string, metadata?: Record<string, string>, retryMs?: number }}
 */
export function errorDetails(error) {
  const [encoded] = error?.metadata?.get('grpc-status-details-bin') ?? []
  /** @type {{ reason?: string, metadata?: Record<string, string>, retryMs?: number }} */
  const found = {}
  if (!encoded) return found
  const decode = (/** @type {string} */ type, /** @type {Uint8Array} */ bytes) =>
    /** @type {any} */ (rpc.lookupType(type).decode(bytes))
  for (const { typeUrl: url, value } of decode('Status', encoded).details) {
    if (url === 'type.googleapis.com/google.rpc.ErrorInfo') {
      const info = decode('ErrorInfo', value)
      if (info.domain === 'm2m.token.v1') Object.assign(found, { reason: info.reason, metadata: info.metadata })
    } else if (url === 'type.googleapis.com/google.rpc.RetryInfo') {
      found.retryMs = milliseconds(decode('RetryInfo', value).retryDelay)
    }
  }
  return found
}

const rpc = protobuf.parse(
  `syntax = "proto3";
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message Any { string type_url = 1; bytes value = 2; }
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message RetryInfo { Duration retry_delay = 1; }`,
).root

/**
 * Returns the error for a call, the first and the longest time to wait, and the time that the issuer asked for.
 * The issuer's own status is never forwarded, because the caller did not call the issuer.
 * @param {any} error
 */
function classify(error) {
  const { reason = grpc.status[error.code] ?? 'UNKNOWN', retryMs = 0 } = errorDetails(error)
  switch (error.code) {
    case grpc.status.UNAUTHENTICATED:
    case grpc.status.PERMISSION_DENIED:
    case grpc.status.INVALID_ARGUMENT:
      // The client's registration is wrong until an operator repairs it, so wait for at least a second.
      return {
        failure: noToken(grpc.status.UNAUTHENTICATED, reason),
        base: 1_000,
        limit: 60_000,
        atLeast: Math.max(retryMs, 1_000),
      }
    default:
      return { failure: noToken(grpc.status.UNAVAILABLE, reason), base: 100, limit: 30_000, atLeast: retryMs }
  }
}

/**
 * @param {number} code
 * @param {string} reason
 */
function noToken(code, reason) {
  return Object.assign(new Error(`no token: ${reason}`), { code })
}

/** @returns {Instant} */
function systemClock() {
  return { monotonic: performance.now(), wall: Date.now() }
}

/**
 * @param {Instant} instant
 * @param {number} ms
 */
function later(instant, ms) {
  return { monotonic: instant.monotonic + ms, wall: instant.wall + ms }
}

/**
 * Returns true if either clock has reached the time. It is safer to renew a token too early than to use it too
 * late.
 * @param {Instant} now
 * @param {Instant} time
 */
function reached(now, time) {
  return now.monotonic >= time.monotonic || now.wall >= time.wall
}

/** @param {Duration} duration */
function milliseconds({ seconds, nanos }) {
  return Number(seconds) * 1_000 + nanos / 1_000_000
}
