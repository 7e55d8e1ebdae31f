/** The parser of a compact JWS: RFC 7515 sections 4 and 7.1, as strict as RFC 8725 demands. */

import { decode } from './encoding.js'
import { Denied } from './errors.js'
import { type Algorithm, algorithmOf } from './keys.js'
import { type JsonObject, NotStrict, parseClaims } from './strict-json.js'

/** RFC 7515 section 4.1.11, RFC 7797: none is supported. */
const EXTENSIONS = ['crit', 'b64']
/** Header parameters that bring a key, or name its URL. They are never used. */
const KEYS = ['jwk', 'jku', 'x5c', 'x5u']

/** A decoded token. Nothing in it is trusted. */
export interface Jws {
  algorithm: Algorithm
  keyId: string | undefined
  tokenType: string | undefined
  claims: JsonObject
  /** The claims that are whole, non-negative numbers. */
  whole: ReadonlySet<string>
  /** The header parameter that brings a key or its URL. */
  foreignKey: string | undefined
}

/** Parses a token of any issuer. Throws Denied. */
export function parse(token: string): Jws {
  const parts = token.split('.')
  const [headerPart, claimsPart, signature] = parts
  if (parts.length !== 3 || !headerPart || !claimsPart || !signature) {
    throw new Denied('malformed', 'it is not three parts')
  }
  const header = object(headerPart, 'its header is not base64url of a JSON object').members
  const extension = EXTENSIONS.find((name) => name in header)
  if (extension) throw new Denied('header', extension)
  const name = text(header, 'alg')
  if (name === undefined) throw new Denied('malformed', 'it has no alg')
  // `none` and HMAC have no name here (RFC 8725 section 3.1).
  const algorithm = algorithmOf(name)
  if (!algorithm) throw new Denied('algorithm', 'alg: not a supported asymmetric algorithm')
  const [keyId, tokenType] = [text(header, 'kid'), text(header, 'typ')]
  const { members: claims, whole } = object(claimsPart, 'its claims are not base64url of a JSON object')
  if (!decode(signature)) throw new Denied('malformed', 'its signature is not base64url')
  return { algorithm, keyId, tokenType, claims, whole, foreignKey: KEYS.find((name) => name in header) }
}

function object(part: string, fault: string): ReturnType<typeof parseClaims> {
  const decoded = decode(part)
  if (!decoded) throw new Denied('malformed', fault)
  try {
    return parseClaims(decoded)
  } catch (error) {
    if (error instanceof NotStrict) throw new Denied('malformed', fault)
    throw error
  }
}

function text(header: JsonObject, name: string): string | undefined {
  const value = header[name]
  if (name in header && typeof value !== 'string') throw new Denied('malformed', `${name}: not a string`)
  return value as string | undefined
}
