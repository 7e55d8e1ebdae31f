/** Token requests, issued tokens, and the errors of a source. */

import { inspect } from 'node:util'

/** The assumed lifetime of a token whose issuer states none, in milliseconds. */
export const LIFETIME_DEFAULT = 60_000

/** A request for a token. Equal requests share one token. */
export class TokenRequest {
  /** The scopes, sorted. None: the issuer's default. */
  readonly scopes: readonly string[]
  readonly #subject: string | undefined

  constructor(
    /** The resource server that the token is for (RFC 8707); undefined for the issuer's default. */
    readonly audience: string | undefined,
    scopes: Iterable<string> = [],
    /** The token is replaced before it is older than this, in milliseconds. */
    readonly maxAge?: number,
    subject?: string,
  ) {
    this.scopes = [...new Set(scopes)].sort()
    this.#subject = subject
  }

  /** The token to exchange (RFC 8693), a secret; undefined for the client's own token. */
  get subject(): string | undefined {
    return this.#subject
  }

  /** Equal requests have an equal key. It is a secret if the request has a subject. */
  get key(): string {
    return JSON.stringify([this.audience ?? null, this.scopes, this.maxAge ?? null, this.#subject ?? null])
  }

  /** The scopes in the form of RFC 6749 section 3.3. */
  get scopeParameter(): string {
    return this.scopes.join(' ')
  }

  /** Returns the union of both requests, for the audience of this one. */
  union(other: TokenRequest): TokenRequest {
    const ages = [this.maxAge, other.maxAge].filter((age) => age !== undefined)
    const maxAge = ages.length > 0 ? Math.min(...ages) : undefined
    return new TokenRequest(this.audience, [...this.scopes, ...other.scopes], maxAge, this.#subject)
  }

  /** Returns the request on behalf of the subject of this token. */
  onBehalfOf(subject: string): TokenRequest {
    return new TokenRequest(this.audience, this.scopes, this.maxAge, subject)
  }

  toString(): string {
    const audience = this.audience === undefined ? 'the default audience' : `audience "${this.audience}"`
    const scopes = this.scopes.length > 0 ? `scopes "${this.scopeParameter}"` : 'default scopes'
    return `${audience}, ${scopes}${this.#subject ? ', on behalf of a caller' : ''}`
  }
}

/** A token from its source. Times are milliseconds, counted from the request. */
export class IssuedToken {
  readonly #value: string

  /**
   * Throws TypeError for a text that is no token of RFC 6750 section 2.1. The error does not quote the
   * text.
   */
  constructor(
    value: string,
    readonly expiresIn: number = LIFETIME_DEFAULT,
    readonly refreshAfter?: number,
  ) {
    // Other characters could be cut, or smuggle in a second header.
    if (!/^[A-Za-z0-9._~+/-]+=*$/.test(value)) {
      throw new TypeError('not an access token: RFC 6750 allows letters, digits and -._~+/ with = at the end')
    }
    this.#value = value
  }

  /** The token, a secret. */
  get value(): string {
    return this.#value
  }

  [inspect.custom](): string {
    return 'IssuedToken([REDACTED])'
  }
}

/** RFC 6749 section 5.2, RFC 8707 section 2. `token`: the configured token is not a valid token. */
export type Refusal =
  | 'client_authentication'
  | 'client_not_authorized'
  | 'scope'
  | 'target'
  | 'grant'
  | 'token'
  | 'request'

/** The sentence of each class of failure: the first thing for an operator to check. */
export const CAUSE_SENTENCES = {
  untrusted_ca: "the issuer's certificate comes from a CA that is not trusted here (untrusted_ca)",
  certificate_invalid: "the issuer's certificate is not valid for it (certificate_invalid)",
  name_not_resolved: "the issuer's name does not resolve (name_not_resolved)",
  connection_refused: "nothing listens at the issuer's address (connection_refused)",
  unreachable: 'no route leads to the issuer (unreachable)',
  connection_lost: 'the connection to the issuer broke off (connection_lost)',
  timed_out: 'the issuer did not answer in time (timed_out)',
  plaintext_refused: "the issuer's URL is plaintext to another machine (plaintext_refused)",
  expired_on_arrival: 'the token had expired when it arrived (expired_on_arrival)',
  answer: 'the issuer answered, and not with a token (answer)',
} as const

/** The class of a failure. */
export type Cause = keyof typeof CAUSE_SENTENCES

/** Returns the refusal of an OAuth error code. */
export function refusalOfCode(code: string): Refusal {
  switch (code) {
    case 'invalid_client':
      return 'client_authentication'
    case 'unauthorized_client':
    case 'access_denied':
      return 'client_not_authorized'
    case 'invalid_scope':
      return 'scope'
    case 'invalid_target':
      return 'target'
    case 'invalid_grant':
      return 'grant'
    default:
      return 'request'
  }
}

/**
 * The error of a token source. Without a refusal it passes by itself, and the source is asked again in the
 * background. A refusal lasts until an operator changes something.
 */
export class SourceError extends Error {
  override name = 'SourceError'
  readonly refusal: Refusal | undefined
  /** The class of the failure. */
  readonly reason: Cause
  /** The pause that the source demands, in milliseconds. */
  readonly retryAfter: number | undefined

  constructor(
    message: string,
    { refusal, cause = 'answer', retryAfter }: { refusal?: Refusal; cause?: Cause; retryAfter?: number } = {},
  ) {
    super(message)
    this.refusal = refusal
    this.reason = cause
    this.retryAfter = retryAfter
  }

  /** True if it may pass by itself. */
  get isTransient(): boolean {
    return this.refusal === undefined
  }
}

/** Obtains access tokens. Renewal, sharing and pauses are not its task. */
export interface TokenSource {
  /** Obtains one token. Rejects with SourceError. */
  fetch(request: TokenRequest): Promise<IssuedToken>
}

/**
 * Rejects requests on behalf of a caller, for sources that cannot exchange tokens. Their own token would
 * give a caller this program's rights.
 */
export function own(request: TokenRequest): void {
  if (request.subject !== undefined) throw new SourceError('this source exchanges no tokens', { refusal: 'request' })
}
