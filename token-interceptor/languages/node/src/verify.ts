/**
 * The verifier: a presented token becomes a `Caller`, or an error that names the failed check.
 *
 * RFC 9068 section 4, RFC 8725. The checks, in order: size → shape and algorithm → issuer → key ID →
 * signature → type → audience → times → revocation. Before the signature is checked, a token's content only
 * selects the issuer and the key.
 */

import { checkClaims, text } from './claims.js'
import { Denied, PolicyError } from './errors.js'
import { type Jws, parse } from './jws.js'
import { FixedKeys, type KeySource } from './key-sources.js'
import { type Algorithm, ALGORITHMS, DEFAULT_ALGORITHMS, type KeySet, type VerifyingKey } from './keys.js'
import { hasAllowedValue, type Demands, matches, type Method } from './policy.js'
import type { Revocations } from './revocations.js'
import { Caller, type Checked } from './token.js'

/** The longest token, in bytes. */
const TOKEN_BYTES_MAX = 8_192
/** The longest token of a foreign issuer, in bytes. Entra ID writes up to 200 groups into one. */
const FOREIGN_TOKEN_BYTES_MAX = 32 * 1_024
/** The tolerance for differing clocks, in seconds. */
const LEEWAY = 5
/** The retry delay of a caller when keys or pushed trust are too old, in milliseconds. */
const RETRY_AFTER_STALE = 5_000
/** The number of cached tokens: some 40 MiB. */
const CACHED_TOKENS_MAX = 10_000

/** The limits of the trust in an issuer. */
export interface Limits {
  /** Its tokens are accepted for these audiences only. Default: for any audience of the policy. */
  audiences?: readonly string[]
  /** The accepted algorithms. Default: those of this project's issuer, and of a foreign issuer every one. */
  algorithms?: readonly Algorithm[]
  /** The clients that it may issue tokens for: IDs, or prefixes and a final `*`. Default: any. */
  clients?: readonly string[]
  /** The scopes that it may grant, in the same form. Others in its tokens are ignored. Default: any. */
  scopes?: readonly string[]
  /** The accepted `typ`. Default: `at+jwt`. */
  tokenTypes?: readonly string[]
  /** True if a token without `typ` is accepted too. */
  untyped?: boolean
  /** True to read its tokens by RFC 7515 and RFC 7519 alone: an issuer other than this project's server. */
  foreign?: boolean
  /** The program's own revocations, beside those that the issuer pushes. */
  revocations?: Revocations
}

/** An issuer whose tokens are accepted, by its exact identifier. */
export class TrustedIssuer {
  constructor(
    readonly issuer: string,
    readonly keys: KeySource,
    readonly limits: Limits = {},
  ) {
    if (!issuer) throw new TypeError('the issuer identifier is empty')
    for (const pattern of [...(limits.clients ?? []), ...(limits.scopes ?? [])]) {
      if (!pattern || /[* ]/.test(pattern.replace(/\*$/, ''))) {
        throw new TypeError(`${JSON.stringify(pattern)} must be a name, or a prefix and one final "*"`)
      }
    }
    for (const algorithm of limits.algorithms ?? []) {
      if (!ALGORITHMS.includes(algorithm)) throw new TypeError(`${algorithm} is not a supported algorithm`)
    }
  }

  /** Trusts an issuer with keys that do not change. */
  static fixed(issuer: string, keys: KeySet, limits: Limits = {}): TrustedIssuer {
    return new TrustedIssuer(issuer, new FixedKeys(keys), limits)
  }

  /** Returns the issuer with these limits beside its own. */
  limited(limits: Limits): TrustedIssuer {
    return new TrustedIssuer(this.issuer, this.keys, { ...this.limits, ...limits })
  }

  /** Ends the background work of its key source. */
  close(): void {
    this.keys.close()
  }
}

/** A verified token and the grounds of the verdict. */
interface Seen {
  caller: Caller
  issuer: TrustedIssuer
  key: VerifyingKey
  keyVersion: number
  revocationVersion: number
}

/** Verifies tokens of the issuers that it trusts. */
export class Verifier {
  readonly #issuers = new Map<string, TrustedIssuer>()
  readonly #unique = new Map<string, boolean>()
  readonly #cache = new Map<string, Seen>()
  readonly #clock: () => number
  readonly #sizeMax: number

  /** `clock`: the time of day in milliseconds. */
  constructor(issuers: readonly TrustedIssuer[], { clock = Date.now }: { clock?: () => number } = {}) {
    if (issuers.length === 0) throw new TypeError('a verifier trusts one issuer at least')
    for (const issuer of issuers) this.#issuers.set(issuer.issuer, issuer)
    for (const issuer of this.#issuers.values()) {
      const others = [...this.#issuers.values()].filter((other) => other !== issuer)
      const shared = others.some((other) => shareAnAudience(issuer, other))
      this.#unique.set(issuer.issuer, issuer.limits.clients !== undefined || !shared)
    }
    this.#clock = clock
    this.#sizeMax = Math.max(...[...this.#issuers.values()].map(sizeMax))
  }

  /** Ends the background work of the issuers' key sources. */
  close(): void {
    for (const issuer of this.#issuers.values()) issuer.close()
  }

  /**
   * Throws PolicyError when a method names callers that cannot be told apart. That is so where several
   * issuers may issue tokens for its audience. A client of one issuer could pass for another's. It is
   * allowed where each issuer has its `clients`.
   */
  checkDemands(demands: Demands): void {
    const faults = demands.namingCallers().flatMap(({ path, audience }) => {
      const speaking = [...this.#issuers.values()].filter((issuer) => allows(issuer, audience))
      if (speaking.every((issuer) => this.#unique.get(issuer.issuer))) return []
      return [`${path}: names callers, and several issuers speak for "${audience}": give each TrustedIssuer its clients`]
    })
    if (faults.length > 0) throw new PolicyError(faults.sort())
  }

  /**
   * Verifies the token for an audience. Throws Denied. Returns a promise only where the token was not seen
   * before: the signature has to be checked, or a key has to be waited for.
   */
  verify(token: string, audience: string): Caller | Promise<Caller> {
    const now = this.#clock()
    const seen = this.#seen(token, audience, now)
    return seen ? seen.caller : this.#verifyAnew(token, audience, now).then(({ caller }) => caller)
  }

  /**
   * Checks the token of a call in progress again. Throws Denied when the call has to end. Returns the
   * milliseconds until the token ends by its times. An unreachable issuer ends no call.
   */
  async checkAgain(method: Method, caller: Caller): Promise<number> {
    const now = this.#clock()
    let end = (caller.expiresAt + LEEWAY) * 1_000
    if (now >= end) throw new Denied('expired', 'exp')
    const age = method.requirement?.maxTokenAge
    if (age !== undefined) {
      // A token is too old from one second past the limit.
      const limit = (caller.issuedAt + Math.floor(age) + LEEWAY + 1) * 1_000
      if (now >= limit) throw new Denied('token_age')
      end = Math.min(end, limit)
    }
    try {
      await this.verify(caller.bearer, method.audience)
    } catch (error) {
      if (!(error instanceof Denied) || !error.isTransient) throw error
    }
    return end - now
  }

  /** Returns a cached verdict that is still valid. Throws Denied if it is not. */
  #seen(token: string, audience: string, now: number): Seen | undefined {
    const seen = this.#cache.get(token)
    if (!seen) return undefined
    const { issuer, caller } = seen
    try {
      checkFresh(issuer)
      const { version } = issuer.keys
      if (version !== seen.keyVersion) {
        if (!issuer.keys.holds(seen.key)) return undefined
        seen.keyVersion = version
      }
      checkAudience(issuer, caller.audiences, audience)
      checkTimes(caller, now)
      const revocationVersion = revocationVersionOf(issuer)
      if (revocationVersion !== seen.revocationVersion) {
        checkRevoked(issuer, caller)
        seen.revocationVersion = revocationVersion
      }
    } catch (error) {
      // A token for another audience is valid there.
      if (error instanceof Denied && error.check !== 'audience' && !error.isTransient) this.#cache.delete(token)
      throw error
    }
    return seen
  }

  async #verifyAnew(token: string, audience: string, now: number): Promise<Seen> {
    const bytes = Buffer.byteLength(token)
    checkSize(bytes, this.#sizeMax)
    const jws = parse(token)
    const issuer = this.#issuers.get(text(jws.claims, 'iss'))
    if (!issuer) throw new Denied('issuer', 'iss is not a trusted issuer')
    checkSize(bytes, sizeMax(issuer))
    if (jws.foreignKey && !issuer.limits.foreign) throw new Denied('header', jws.foreignKey)
    if (!algorithmsOf(issuer.limits).includes(jws.algorithm)) {
      throw new Denied('algorithm', `alg: ${jws.algorithm} is not allowed for the issuer`)
    }
    checkFresh(issuer)
    // Read before the keys and the revocations, so that a later change is noticed next time.
    const [keyVersion, revocationVersion] = [issuer.keys.version, revocationVersionOf(issuer)]
    const key = await signedBy(issuer, jws, token)
    checkType(issuer, jws.tokenType)
    const checked = checkClaims(jws, issuer.limits.foreign ?? false)
    const caller = this.#limit(issuer, checked, token)
    checkAudience(issuer, caller.audiences, audience)
    checkTimes(caller, now)
    checkRevoked(issuer, caller)
    const seen = { caller, issuer, key, keyVersion, revocationVersion }
    this.#cache.set(token, seen)
    if (this.#cache.size > CACHED_TOKENS_MAX) {
      const oldest = this.#cache.keys().next()
      if (!oldest.done) this.#cache.delete(oldest.value)
    }
    return seen
  }

  /** Applies the issuer's rights: its own clients, and the scopes that it grants. */
  #limit(issuer: TrustedIssuer, checked: Checked, token: string): Caller {
    const { clients, scopes } = issuer.limits
    if (clients && !among(clients, checked.clientId)) {
      throw new Denied('client', "client_id is not one of the issuer's clients")
    }
    const granted = scopes ? checked.scopes.filter((scope) => among(scopes, scope)) : checked.scopes
    return new Caller({ ...checked, scopes: granted }, this.#unique.get(issuer.issuer) ?? false, token)
  }

  /** Throws Denied unless the caller's token meets the method's requirement. */
  require({ requirement }: Method, caller: Caller): void {
    if (!requirement) return
    const missing = requirement.allScopes.filter((scope) => !caller.scopes.includes(scope))
    const { anyScopes, callers, claims, maxTokenAge } = requirement
    if (anyScopes.length > 0 && !anyScopes.some((scope) => caller.scopes.includes(scope))) missing.push(...anyScopes)
    if (missing.length > 0) throw new Denied('scope', '', { scopes: missing })
    if (callers.length > 0 && !(caller.clientIdIsUnique && among(callers, caller.clientId))) throw new Denied('caller')
    for (const one of claims) {
      if (!hasAllowedValue(one, caller.claims)) throw new Denied('claim', `${one.claim} has no value that the method allows`)
    }
    if (maxTokenAge !== undefined) {
      const latest = caller.issuedAt + Math.floor(maxTokenAge) + LEEWAY
      if (Math.floor(this.#clock() / 1_000) > latest) throw new Denied('token_age')
    }
  }
}

function sizeMax(issuer: TrustedIssuer): number {
  return issuer.limits.foreign ? FOREIGN_TOKEN_BYTES_MAX : TOKEN_BYTES_MAX
}

function algorithmsOf(limits: Limits): readonly Algorithm[] {
  return limits.algorithms ?? (limits.foreign ? ALGORITHMS : DEFAULT_ALGORITHMS)
}

function checkSize(bytes: number, max: number): void {
  if (bytes > max) throw new Denied('too_large', `${bytes} bytes`)
}

/** Returns the issuer's key that signed the token. */
async function signedBy({ keys }: TrustedIssuer, jws: Jws, token: string): Promise<VerifyingKey> {
  for (let fetches = 0; ; fetches++) {
    const { news } = keys
    const candidates = keys.candidates(jws.keyId, jws.algorithm)
    if (candidates?.length === 0) throw new Denied('algorithm', 'alg: not the algorithm of the key that kid names')
    for (const key of candidates ?? []) if (await key.verifies(token)) return key
    // Without `kid`, only the signature tells a key that is not cached yet from a forgery.
    if (candidates && jws.keyId !== undefined) throw new Denied('signature')
    // One fetch that began before the key was published, and one of this call's own.
    if (!(await keys.unknownKey(news, fetches < 2))) throw candidates ? new Denied('signature') : new Denied('key_unknown', 'kid')
  }
}

function checkFresh({ keys }: TrustedIssuer): void {
  if (keys.isStale()) {
    throw new Denied('key_unavailable', "the issuer's state is too old", { retryAfter: RETRY_AFTER_STALE })
  }
}

/** RFC 7515 section 4.1.9: a media type, case-insensitive, `application/` left out or not. */
function checkType({ limits }: TrustedIssuer, tokenType: string | undefined): void {
  if (tokenType === undefined) {
    if (!limits.untyped) throw new Denied('type', 'typ: nothing')
    return
  }
  const short = lower(tokenType).replace(/^application\//, '')
  if (!(limits.tokenTypes ?? ['at+jwt']).some((accepted) => lower(accepted) === short)) {
    throw new Denied('type', "typ: not an access token's")
  }
}

/** `toLowerCase` also lowers letters such as the Kelvin sign. */
function lower(text: string): string {
  return text.replace(/[A-Z]/g, (letter) => letter.toLowerCase())
}

function allows({ limits }: TrustedIssuer, audience: string): boolean {
  return limits.audiences === undefined || limits.audiences.includes(audience)
}

function checkAudience(issuer: TrustedIssuer, audiences: readonly string[], audience: string): void {
  if (!allows(issuer, audience) || !audiences.includes(audience)) throw new Denied('audience', 'aud')
}

/** RFC 7519 sections 4.1.4 to 4.1.6. */
function checkTimes({ expiresAt, notBefore, issuedAt }: Caller, now: number): void {
  const seconds = Math.max(Math.floor(now / 1_000), 0)
  if (seconds >= expiresAt + LEEWAY) throw new Denied('expired', 'exp')
  if (notBefore !== undefined && notBefore > seconds + LEEWAY) throw new Denied('not_yet_valid', 'nbf')
  // RFC 7519 does not demand it, but no honest issuer writes such a time.
  if (issuedAt > seconds + LEEWAY) throw new Denied('issued_in_future', 'iat')
}

function checkRevoked({ limits, keys }: TrustedIssuer, caller: Caller): void {
  if (limits.revocations?.revokes(caller) || keys.revocations?.revokes(caller)) throw new Denied('revoked', 'jti')
}

function revocationVersionOf({ limits, keys }: TrustedIssuer): number {
  return (limits.revocations?.version ?? 0) + (keys.revocations?.version ?? 0)
}

function among(patterns: readonly string[], name: string): boolean {
  return patterns.some((pattern) => matches(pattern, name))
}

function shareAnAudience(one: TrustedIssuer, other: TrustedIssuer): boolean {
  const [own, others] = [one.limits.audiences, other.limits.audiences]
  return !own || !others || own.some((audience) => others.includes(audience))
}
