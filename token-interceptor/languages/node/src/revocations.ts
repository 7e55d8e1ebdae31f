/**
 * Revoked tokens: single ones by their `jti`, or every token of a client that was issued before a time.
 *
 * The set keeps hashes, not names: the first 16 bytes of SHA-256, as `m2m.token.v1.Revocation` carries them.
 */

import { createHash } from 'node:crypto'
import type { Caller } from './token.js'

/** Later than any `iat`, and than any time to forget. */
export const ALWAYS = Number.POSITIVE_INFINITY

/** Returns the hash of the `jti` of one token, in hexadecimal. */
export function tokenHash(tokenId: string): string {
  return hash('revoked token', tokenId)
}

/** Returns the hash of a client ID, in hexadecimal. */
export function clientHash(clientId: string): string {
  return hash('revoked client', clientId)
}

function hash(kind: string, name: string): string {
  return createHash('sha256').update(`${kind}\0${name}`).digest('hex').slice(0, 32)
}

/** The revocations of one issuer. Times are seconds since 1970. */
export class Revocations {
  #entries = new Map<string, { issuedBefore: number; forgetAt: number }>()
  #version = 0

  /** Rises with every addition. A cached verdict from an earlier version is checked again. */
  get version(): number {
    return this.#version
  }

  /** The number of entries. */
  get size(): number {
    return this.#entries.size
  }

  /** Revokes the token with this `jti`. `forgetAt`: when the token has expired. */
  revokeToken(tokenId: string, forgetAt: number = ALWAYS): void {
    this.add(tokenHash(tokenId), ALWAYS, forgetAt)
  }

  /** Revokes every token of this client with an `iat` before `issuedBefore`. */
  revokeClient(clientId: string, issuedBefore: number, forgetAt: number = ALWAYS): void {
    this.add(clientHash(clientId), issuedBefore, forgetAt)
  }

  /** Adds an entry. Nothing that is revoked becomes valid by it: the later times of two entries hold. */
  add(target: string, issuedBefore: number, forgetAt: number): void {
    const before = this.#entries.get(target)
    this.#entries.set(target, {
      issuedBefore: Math.max(before?.issuedBefore ?? 0, issuedBefore),
      forgetAt: Math.max(before?.forgetAt ?? 0, forgetAt),
    })
    this.#version++
  }

  /** Drops the entries that no token needs any more. */
  forget(now: number): void {
    for (const [target, { forgetAt }] of this.#entries) if (forgetAt <= now) this.#entries.delete(target)
  }

  /** Returns true if the token, its client, or one of its ancestors or their clients is revoked. */
  revokes(caller: Caller): boolean {
    if (this.#entries.size === 0) return false
    const own: [string, string, number] = [caller.tokenId, caller.clientId, caller.issuedAt]
    return [own, ...caller.ancestors()].some(
      ([tokenId, clientId, issuedAt]) =>
        this.#holds(tokenHash(tokenId), issuedAt) || this.#holds(clientHash(clientId), issuedAt),
    )
  }

  #holds(target: string, issuedAt: number): boolean {
    const entry = this.#entries.get(target)
    return entry !== undefined && issuedAt < entry.issuedBefore
  }
}
