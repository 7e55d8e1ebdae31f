// Attaches access tokens to gRPC calls: gets them from a TokenService with the client's secret
// (RFC 6749 section 4.4), keeps them, and renews them before they expire.
//
//   const tokens = TokenCredentials.connect({ issuer: 'localhost:8443', clientId: 'orders', clientSecret, audience: 'inventory' })
//   const client = new InventoryService(target, tokens.channelCredentials())

import { join } from 'node:path'
import grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import protobuf from 'protobufjs'

/** No request to the issuer takes longer, whatever the call that caused it may wait. */
const FETCH_TIMEOUT_MS = 30_000

/**
 * A time on both clocks, in milliseconds. The monotonic one stands still while the machine is suspended; the
 * other one can be set.
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
  /** @type {Token | undefined} the newest one, perhaps expired */
  #token
  /** @type {Promise<Token> | undefined} the request under way, shared by all who wait for it */
  #flight
  /** @type {Error | undefined} what the last request came to, where it failed */
  #failure
  #attempts = 0
  /** @type {Instant | undefined} no request before this */
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
   * Credentials from the token service at `issuer` ("host:port"), which is spoken to over TLS alone. No
   * scopes: the client's default scopes. No roots: Node's own. The first call fetches the first token.
   * @param {{ issuer: string, clientId: string, clientSecret: string, audience: string, scopes?: string[],
   *   rootCertificates?: Buffer, protos: string }} options `protos` is the folder that holds m2m/token/v1
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
   * Credentials for a channel. There is no other way to use a token: @grpc/grpc-js sends call credentials
   * over a plaintext connection when they are given with a call.
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
   * The authorization header of a token that has not expired; waits for the issuer only where there is none.
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
      // A renewal that fails while a token is in hand is nobody's unhandled rejection.
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
      // Both count from before the request: the network's time is taken off, never added.
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
      // Full jitter: a fleet that failed together does not come back together.
      const backoff = this.#jitter() * Math.min(limit, base * 2 ** Math.min(this.#attempts, 16))
      this.#failure = failure
      this.#retryAt = later(this.#clock(), Math.max(backoff, atLeast))
      this.#attempts += 1
      throw failure
    }
  }
}

/**
 * What the issuer's details say, of google.rpc.Status: the reason for programs and the time to hold back.
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
 * What a call is told, how long to hold back at first and at most, and what the issuer asked for. The
 * issuer's own status is never passed on: the caller did not call the issuer.
 * @param {any} error
 */
function classify(error) {
  const { reason = grpc.status[error.code] ?? 'UNKNOWN', retryMs = 0 } = errorDetails(error)
  switch (error.code) {
    case grpc.status.UNAUTHENTICATED:
    case grpc.status.PERMISSION_DENIED:
    case grpc.status.INVALID_ARGUMENT:
      // The client's registration is wrong, and stays so until someone acts: a second at least.
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
 * Whether either clock says so: a token is rather renewed too early than used too late.
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
