/** The trusted issuers of a server: by discovery, at a key set's URL, or pushed by a token server. */

import { create } from '@bufbuild/protobuf'
import type { ClientReadableStream } from '@grpc/grpc-js'
import { checkUrl } from './destinations.js'
import { Denied } from './errors.js'
import { GetIssuerRequestSchema, KeyState, type Revocation, TrustService, WatchTrustRequestSchema, type WatchTrustResponse } from './gen/m2m/token/v1/trust_service_pb.js'
import { IssuerChannel } from './grpc-issuer.js'
import { HttpClient, metadataUrls } from './http-client.js'
import { FetchedKeys, type Freshness, Held, type KeySource } from './key-sources.js'
import { type Algorithm, KeySet, KeySetError, type VerifyingKey } from './keys.js'
import { type Log, silent } from './log.js'
import { ALWAYS, Revocations } from './revocations.js'
import { parseObject } from './strict-json.js'
import { type Limits, TrustedIssuer } from './verify.js'

/** The longest time of a fetch, in milliseconds. */
const FETCH_TIMEOUT = 5_000
/** The default time for which pushed trust is used after its stream was lost, in milliseconds. */
const STALE_AFTER = 3_600_000
/** The longest silence on the stream, in milliseconds. The server sends a heartbeat every 10 seconds. */
const SILENCE_MAX = 30_000
/** The longest wait for the stream to begin, and the pauses between two streams, in milliseconds. */
const CONNECT_MAX = 5_000
const FIRST_PAUSE = 100
const PAUSE_MAX = 5_000
const FORGET_EVERY = 60

/** The settings of an issuer whose keys are fetched. */
export interface FetchOptions extends Freshness, Limits {
  /** Certificates in PEM that are trusted beside Node's own. */
  extraRoots?: string | Buffer
  log?: Log
}

/**
 * Trusts an issuer that is found by its metadata: OpenID Connect Discovery, or RFC 8414. `issuer` is
 * compared byte for byte with the metadata and with the `iss` of every token.
 */
export function discover(issuer: string, options: FetchOptions = {}): TrustedIssuer {
  const { search, hash } = checkUrl(issuer)
  if (search || hash) throw new TypeError('the issuer has a query or a fragment (RFC 8414 section 2)')
  const http = clientOf(options)
  return fetched(issuer, async () => fetchKeys(http, await keysUrl(http, issuer)), options)
}

/** Trusts an issuer whose JWK Set is at `url`. */
export function jwks(issuer: string, url: string, options: FetchOptions = {}): TrustedIssuer {
  checkUrl(url)
  const http = clientOf(options)
  return fetched(issuer, () => fetchKeys(http, url), options)
}

/**
 * Trusts a token server that pushes its keys and revocations: `m2m.token.v1.TrustService.WatchTrust`. A new
 * key arrives before its first use, and a revocation is enforced within a second. `roots`: the
 * certificates, in PEM, that are trusted instead of Node's own. `staleAfter`: the milliseconds for which
 * the last state is used without a stream.
 */
export function watch(
  issuer: string,
  options: Limits & { roots?: string | Buffer; staleAfter?: number; log?: Log } = {},
): TrustedIssuer {
  return new TrustedIssuer(issuer, new PushedTrust(issuer, new IssuerChannel(issuer, options.roots), options), options)
}

function clientOf({ extraRoots }: FetchOptions): HttpClient {
  return new HttpClient({ timeout: FETCH_TIMEOUT, ...(extraRoots && { extraRoots }) })
}

function fetched(issuer: string, fetch: () => Promise<KeySet>, options: FetchOptions): TrustedIssuer {
  // The program's own revocations are among the limits.
  const { maxAge, cooldown, staleAfter, log } = options
  const settings = {
    ...(maxAge !== undefined && { maxAge }),
    ...(cooldown !== undefined && { cooldown }),
    ...(staleAfter !== undefined && { staleAfter }),
    ...(log && { log }),
  }
  return new TrustedIssuer(issuer, new FetchedKeys(issuer, fetch, settings), options)
}

async function keysUrl(http: HttpClient, issuer: string): Promise<string> {
  const { openid, oauth } = metadataUrls(issuer)
  let failure: unknown
  for (const url of [openid, oauth]) {
    try {
      const { status, body } = await http.get(url)
      if (status !== 200) throw new KeySetError(`the issuer's metadata are answered with ${status}`)
      const members = parseObject(body)
      if (members['issuer'] !== issuer) throw new KeySetError('the metadata are those of another issuer')
      const keys = members['jwks_uri']
      if (typeof keys !== 'string' || (issuer.startsWith('https:') && !keys.startsWith('https:'))) {
        throw new KeySetError('the metadata name a jwks_uri that must not be used')
      }
      return keys
    } catch (error) {
      // If both fail, the first error says more.
      failure ??= error
    }
  }
  throw failure
}

async function fetchKeys(http: HttpClient, url: string): Promise<KeySet> {
  const { status, body } = await http.get(url)
  if (status !== 200) throw new KeySetError(`the key set is answered with ${status}`)
  return KeySet.fromJwks(body)
}

/** Adds a pushed revocation. Throws for one of an unknown kind: the state must not be used any further. */
function applyRevocation(revocations: Revocations, { target, issuedBeforeTime, forgetTime }: Revocation): void {
  // Without a time to forget it is kept for good: too much is refused then, never too little.
  const forgetAt = forgetTime ? secondsAfter(forgetTime) : ALWAYS
  if (target.value?.length !== 16) throw new Error('it pushes revocations of a kind that is unknown here')
  const hash = Buffer.from(target.value).toString('hex')
  const dated = target.case === 'clientHash' && issuedBeforeTime
  revocations.add(hash, dated ? secondsAfter(issuedBeforeTime) : ALWAYS, forgetAt)
}

/** In whole seconds, as tokens count: a token of the second in which its client was revoked is revoked. */
function secondsAfter({ seconds, nanos }: { seconds: bigint; nanos: number }): number {
  return Math.max(Number(seconds) + (nanos > 0 ? 1 : 0), 0)
}

/**
 * The pushed trust of one issuer. While the stream is live, an unknown key is not the issuer's. When the
 * stream is lost, the last state is used until it is too old. Then every token is rejected, as a revocation
 * may have been missed.
 */
class PushedTrust implements KeySource {
  readonly revocations = new Revocations()
  readonly #held = new Held()
  readonly #jwks = new Map<string, string>()
  readonly #staleAfter: number
  readonly #log: Log
  readonly #seconds: NodeJS.Timeout
  /** The time at which the state was last known to be whole, by both clocks. */
  #heard = { monotonic: performance.now(), wall: Date.now() }
  #live = false
  #version = ''
  #keysChanged = false
  #stream: ClientReadableStream<WatchTrustResponse> | undefined
  /** The time of the last message of this stream. */
  #lastMessage = 0
  #retry: NodeJS.Timeout | undefined
  #failures = 0
  #closed = false

  constructor(
    private readonly issuer: string,
    private readonly channel: IssuerChannel,
    { staleAfter = STALE_AFTER, log = silent }: { staleAfter?: number; log?: Log },
  ) {
    this.#staleAfter = staleAfter
    this.#log = log
    let second = 0
    this.#seconds = setInterval(() => {
      if (this.#stream && performance.now() - this.#lastMessage > SILENCE_MAX) this.#stream.cancel()
      if (++second % FORGET_EVERY === 0) this.revocations.forget(Math.floor(Date.now() / 1_000))
    }, 1_000)
    this.#seconds.unref()
    void this.#follow()
  }

  get version(): number {
    return this.#held.version
  }

  get news(): number {
    return this.#held.news
  }

  candidates(keyId: string | undefined, algorithm: Algorithm): VerifyingKey[] | undefined {
    return this.#held.keys?.candidates(keyId, algorithm)
  }

  holds(key: VerifyingKey): boolean {
    return this.#held.keys?.holds(key) ?? false
  }

  async unknownKey(news: number, wait: boolean): Promise<boolean> {
    if (this.#live && this.#age() <= SILENCE_MAX) return false
    if (this.#held.keys || !wait) throw new Denied('key_unavailable', '', { retryAfter: PAUSE_MAX })
    await this.#held.wait(news)
    return true
  }

  isStale(): boolean {
    return this.#age() > this.#staleAfter
  }

  close(): void {
    this.#closed = true
    clearInterval(this.#seconds)
    clearTimeout(this.#retry)
    this.#stream?.cancel()
    this.channel.close()
  }

  /** One clock stands still while the machine is suspended; the other can be set. */
  #age(): number {
    return Math.max(performance.now() - this.#heard.monotonic, Date.now() - this.#heard.wall)
  }

  async #follow(): Promise<void> {
    const before = this.#held.news
    let reason = 'the issuer closed it'
    try {
      const described = await this.channel.unary(
        TrustService.method.getIssuer,
        create(GetIssuerRequestSchema),
        CONNECT_MAX,
      )
      if (described.issuer?.issuer !== this.issuer) throw new Error("the TrustService is another issuer's")
      const request = create(WatchTrustRequestSchema, { sinceVersion: this.#version })
      this.#lastMessage = performance.now()
      this.#stream = this.channel.stream(TrustService.method.watchTrust, request)
      for await (const message of this.#stream as AsyncIterable<WatchTrustResponse>) {
        this.#lastMessage = performance.now()
        await this.#apply(message)
      }
    } catch (error) {
      reason = error instanceof Error ? error.message : 'unknown'
    }
    this.#stream?.cancel()
    this.#stream = undefined
    this.#live = false
    if (this.#closed) return
    this.#failures = this.#held.news > before ? 0 : this.#failures + 1
    this.#log('warn', `lost the trust stream of ${this.issuer}; the last state stays in use: ${reason}`)
    const pause = Math.min(FIRST_PAUSE * 2 ** Math.min(this.#failures, 10), PAUSE_MAX)
    this.#retry = setTimeout(() => void this.#follow(), pause * (0.5 + Math.random() / 2))
    this.#retry.unref()
  }

  /** Applies one message. The state counts as current once the last part of a step has arrived. */
  async #apply(message: WatchTrustResponse): Promise<void> {
    // Revocations first: a key in the same message must not admit a token that the message revokes.
    for (const revocation of message.revocations) applyRevocation(this.revocations, revocation)
    if (message.snapshot) this.#jwks.clear()
    this.#keysChanged ||= message.snapshot || message.keys.length > 0 || message.removedKeyIds.length > 0
    for (const { keyId, jwk, state } of message.keys) {
      if (state === KeyState.DISTRUSTED) this.#jwks.delete(keyId)
      else this.#jwks.set(keyId, jwk)
    }
    for (const keyId of message.removedKeyIds) this.#jwks.delete(keyId)
    // The first state is used only once it is complete, because some revocations may still be missing.
    if (this.#keysChanged && (!message.moreFollows || this.#version)) {
      this.#held.hold(await KeySet.fromTexts(this.#jwks.values()))
      this.#keysChanged = false
    }
    if (message.moreFollows) return
    this.#version = message.version
    this.#heard = { monotonic: performance.now(), wall: Date.now() }
    this.#live = true
    this.#held.tell()
  }
}
