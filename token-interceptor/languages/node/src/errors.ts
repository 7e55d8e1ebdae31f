/** The refusal of a call: one closed list of checks, and the reason that the caller sees. */

/** The domain of `google.rpc.ErrorInfo` in every answer. */
export const ERROR_DOMAIN = 'm2m.token.v1'

const NOT_VALID = ['TOKEN_INVALID', 'the token is not valid'] as const

/**
 * The reason and the fixed sentence of each check. A sentence never quotes the token: it would tell a
 * forger how far the forgery came.
 */
const CHECKS = {
  method_not_declared: ['METHOD_NOT_DECLARED', 'the method declares no policy, so every call is denied'],
  credentials_missing: ['CREDENTIALS_MISSING', 'a bearer token is required'],
  credentials_malformed: ['TOKEN_INVALID', 'the authorization is not one bearer token'],
  too_large: NOT_VALID,
  malformed: NOT_VALID,
  algorithm: NOT_VALID,
  header: NOT_VALID,
  issuer: NOT_VALID,
  signature: NOT_VALID,
  type: NOT_VALID,
  not_yet_valid: NOT_VALID,
  issued_in_future: NOT_VALID,
  sender_constrained: NOT_VALID,
  key_unknown: ['TOKEN_KEY_UNKNOWN', 'the token is signed by a key that its issuer does not publish'],
  key_unavailable: ['TRUST_UNAVAILABLE', 'the token cannot be verified at the moment; try again'],
  audience: ['TOKEN_AUDIENCE_MISMATCH', 'the token was issued for another audience'],
  expired: ['TOKEN_EXPIRED', 'the token has expired'],
  client: ['CALLER_NOT_ALLOWED', 'the client may not call this method'],
  revoked: ['TOKEN_REVOKED', 'the token was revoked'],
  scope: ['SCOPE_INSUFFICIENT', 'the token lacks a scope that the method demands'],
  caller: ['CALLER_NOT_ALLOWED', 'the client may not call this method'],
  claim: ['CALLER_NOT_ALLOWED', 'the token lacks a claim that the method demands'],
  token_age: ['TOKEN_TOO_OLD', 'the token was issued too long ago for this method'],
} as const

/** The name of a check, for logs and metrics. */
export type Check = keyof typeof CHECKS

/** The reasons that a new token for the same audience may cure. */
export const RENEWABLE: ReadonlySet<string> = new Set([
  'TOKEN_INVALID',
  'TOKEN_EXPIRED',
  'TOKEN_REVOKED',
  'TOKEN_KEY_UNKNOWN',
])

/**
 * The refusal of a call. `check` names the check that failed, and `detail` the member that it compared:
 * both are for logs, not for the caller. Neither ever holds the token.
 */
export class Denied extends Error {
  override name = 'Denied'
  /** The missing scopes. */
  readonly scopes: readonly string[]
  /** The time to wait before a retry, in milliseconds, if a retry may help. */
  readonly retryAfter: number | undefined

  constructor(
    readonly check: Check,
    readonly detail = '',
    { scopes = [], retryAfter }: { scopes?: readonly string[]; retryAfter?: number } = {},
  ) {
    super(`${CHECKS[check][1]} (${check}${detail && ': '}${detail})`)
    this.scopes = scopes
    this.retryAfter = retryAfter
  }

  /** The reason that the caller sees, a name of `m2m.token.v1.ErrorReason` without its prefix. */
  get reason(): string {
    return CHECKS[this.check][0]
  }

  /** The fixed sentence that the caller sees. */
  get sentence(): string {
    return CHECKS[this.check][1]
  }

  /** True if the same token may be accepted later. */
  get isTransient(): boolean {
    return this.retryAfter !== undefined
  }

  /** True if a new token for the same audience may help. */
  get isRenewable(): boolean {
    return RENEWABLE.has(this.reason)
  }
}

/** The error of a policy that does not fit the served methods. The message names every fault. */
export class PolicyError extends Error {
  override name = 'PolicyError'

  constructor(readonly faults: readonly string[]) {
    super(`the policy does not fit: ${faults.join('; ')}`)
  }
}
