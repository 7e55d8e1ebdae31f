/** A verified token: signature, issuer, audience, times and revocation were checked. RFC 9068 section 2.2. */

import { inspect } from 'node:util'
import type { Json, JsonObject } from './strict-json.js'

/** The private claim that lists the tokens that a token was derived from: `[jti, client_id, iat]`. */
const ANCESTORS_CLAIM = 'm2m_ancestors'

/** One hop of a delegation: a party that acts for the subject. RFC 8693 section 4.1. */
export interface Actor {
  readonly subject: string
  readonly clientId?: string
  readonly issuer?: string
}

/** The claims of checked types. */
export interface Checked {
  readonly issuer: string
  readonly subject: string
  readonly clientId: string
  readonly tokenId: string
  readonly audiences: readonly string[]
  readonly scopes: readonly string[]
  readonly expiresAt: number
  readonly issuedAt: number
  readonly notBefore?: number
  readonly actors: readonly Actor[]
  readonly claims: JsonObject
}

/** The verified identity and rights of a caller. Only a verifier makes one. */
export class Caller implements Checked {
  readonly #bearer: string
  /** `iss`. */
  readonly issuer: string
  /** `sub`: the user whom the client acts for, or the client itself. */
  readonly subject: string
  /** `client_id`: the client that the token was issued to. */
  readonly clientId: string
  /** `jti`. */
  readonly tokenId: string
  /** `aud`. */
  readonly audiences: readonly string[]
  /** `scope`. */
  readonly scopes: readonly string[]
  /** `exp`, in seconds since 1970. */
  readonly expiresAt: number
  /** `iat`, in seconds since 1970. */
  readonly issuedAt: number
  /** `nbf`, in seconds since 1970. */
  declare readonly notBefore?: number
  /** `act`: the current actor first; empty without delegation. Only the first may decide about access. */
  readonly actors: readonly Actor[]
  /** Every claim of the token. */
  readonly claims: JsonObject
  /** True if `clientId` alone identifies the caller among the trusted issuers. */
  readonly clientIdIsUnique: boolean

  constructor(checked: Checked, clientIdIsUnique: boolean, bearer: string) {
    this.issuer = checked.issuer
    this.subject = checked.subject
    this.clientId = checked.clientId
    this.tokenId = checked.tokenId
    this.audiences = checked.audiences
    this.scopes = checked.scopes
    this.expiresAt = checked.expiresAt
    this.issuedAt = checked.issuedAt
    if (checked.notBefore !== undefined) this.notBefore = checked.notBefore
    this.actors = checked.actors
    this.claims = checked.claims
    this.clientIdIsUnique = clientIdIsUnique
    this.#bearer = bearer
  }

  /** The presented token, a secret. Use it only to exchange it for a token of the next service (RFC 8693). */
  get bearer(): string {
    return this.#bearer
  }

  /** Returns true if the scope was granted. */
  hasScope(scope: string): boolean {
    return this.scopes.includes(scope)
  }

  /** Returns `jti`, `client_id` and `iat` of the tokens that this one was derived from. */
  ancestors(): [string, string, number][] {
    const claim = this.claims[ANCESTORS_CLAIM]
    return (Array.isArray(claim) ? claim : []).flatMap((entry: Json): [string, string, number][] => {
      const [tokenId, clientId, issuedAt] = Array.isArray(entry) && entry.length === 3 ? entry : []
      const fits = typeof tokenId === 'string' && typeof clientId === 'string' && Number.isInteger(issuedAt)
      return fits ? [[tokenId, clientId, issuedAt as number]] : []
    })
  }

  /** Names only: claims may be personal, and the token is a secret. */
  toJSON(): Record<string, string> {
    return { issuer: this.issuer, clientId: this.clientId, tokenId: this.tokenId }
  }

  [inspect.custom](): string {
    return `Caller ${JSON.stringify(this)}`
  }
}
