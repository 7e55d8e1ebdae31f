/**
 * Claims and their types: RFC 9068 section 2.2, RFC 7519 section 4.1, RFC 8693 section 4.1.
 *
 * RFC 9068 requires `iss sub client_id aud exp iat jti`. Times are whole, non-negative numbers, as two
 * parsers may round a fraction differently. For foreign issuers only the rules of RFC 7519 apply: times may
 * have a fraction, `iat` may be missing, and `scope` may be a list.
 */

import { Denied } from './errors.js'
import type { Jws } from './jws.js'
import { isObject, type Json, type JsonObject } from './strict-json.js'
import type { Actor, Checked } from './token.js'

/** The last second of the year 9999. Later times overflow in arithmetic. */
const NUMERIC_DATE_MAX = 253_402_300_799

/** Checks every claim that has a meaning. Throws Denied. */
export function checkClaims({ claims, whole }: Jws, foreign: boolean): Checked {
  const time = (name: string, rounded: (value: number) => number) => timeOf(claims, whole, name, foreign, rounded)
  const [subject, clientId, tokenId] = [text(claims, 'sub'), text(claims, 'client_id'), text(claims, 'jti')]
  const audiences = audiencesOf(claims['aud'])
  if (!foreign && 'scope' in claims && typeof claims['scope'] !== 'string') {
    throw new Denied('malformed', 'scope is not a string')
  }
  // RFC 8705 section 3, RFC 9449 section 7.1. Accepting it as a bearer token would defeat the binding.
  if ('cnf' in claims) throw new Denied('sender_constrained', 'cnf')
  const expiresAt = time('exp', Math.floor)
  if (expiresAt === undefined) throw new Denied('malformed', 'it has no exp')
  const notBefore = time('nbf', Math.ceil)
  return {
    issuer: text(claims, 'iss'),
    subject,
    clientId,
    tokenId,
    audiences,
    scopes: scopesOf(claims['scope']),
    expiresAt,
    issuedAt: issuedAtOf(() => time('iat', Math.floor), foreign),
    ...(notBefore !== undefined && { notBefore }),
    actors: actorsOf(claims, foreign),
    claims,
  }
}

/** Returns a required claim, as text that is not empty. Throws Denied. */
export function text(claims: JsonObject, name: string): string {
  const value = claims[name]
  if (typeof value !== 'string' || !value) throw new Denied('malformed', `${name}: missing or not text`)
  return value
}

function audiencesOf(audience: Json | undefined): string[] {
  if (typeof audience === 'string' && audience) return [audience]
  if (Array.isArray(audience) && audience.length > 0 && audience.every((one) => typeof one === 'string')) {
    return audience as string[]
  }
  throw new Denied('malformed', 'aud is neither a string nor strings')
}

function issuedAtOf(time: () => number | undefined, foreign: boolean): number {
  let issuedAt: number | undefined
  try {
    issuedAt = time()
  } catch (error) {
    if (!foreign) throw error
  }
  if (issuedAt === undefined && !foreign) throw new Denied('malformed', 'it has no iat')
  // A token without one counts as older than any limit on its age.
  return issuedAt ?? 0
}

function timeOf(
  claims: JsonObject,
  whole: ReadonlySet<string>,
  name: string,
  foreign: boolean,
  rounded: (value: number) => number,
): number | undefined {
  if (!(name in claims)) return undefined
  const value = claims[name]
  const readable = typeof value === 'number' && (whole.has(name) || foreign)
  const seconds = readable ? rounded(value) : -1
  if (!(seconds >= 0 && seconds <= NUMERIC_DATE_MAX)) {
    throw new Denied('malformed', `${name}: not a whole number of seconds since 1970`)
  }
  return seconds
}

function scopesOf(scope: Json | undefined): string[] {
  // Another type grants nothing. Only a foreign issuer may write one.
  const texts = typeof scope === 'string' ? [scope] : Array.isArray(scope) ? scope : []
  return texts.flatMap((text) => (typeof text === 'string' ? text.split(' ') : [])).filter(Boolean)
}

function actorsOf(claims: JsonObject, foreign: boolean): Actor[] {
  const actors: Actor[] = []
  if (foreign && !isObject(claims['act'])) return actors
  let members = claims
  while ('act' in members) {
    const actor = members['act']
    if (!isObject(actor)) throw new Denied('malformed', 'act is not an object')
    members = actor
    const optional = (name: string) => {
      const value = actor[name]
      if (name in actor && typeof value !== 'string') throw new Denied('malformed', 'a member of act is not text')
      return value as string | undefined
    }
    const [clientId, issuer] = [optional('client_id'), optional('iss')]
    actors.push({
      subject: text(actor, 'sub'),
      ...(clientId !== undefined && { clientId }),
      ...(issuer !== undefined && { issuer }),
    })
  }
  return actors
}
