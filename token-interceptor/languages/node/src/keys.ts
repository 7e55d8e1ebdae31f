/**
 * The public keys of an issuer: an immutable set, each key bound to one algorithm. RFC 7517 section 5.
 *
 * The signature is checked by jose. The checks of a JWK are this module's own.
 */

import { compactVerify, type CryptoKey, importJWK } from 'jose'
import { decode, encode } from './encoding.js'
import { check, entries, isObject, type Json, type JsonObject, lenient, NotStrict } from './strict-json.js'

/** The algorithms that an issuer of this project signs with. */
export const DEFAULT_ALGORITHMS = ['ES256', 'EdDSA', 'ES384', 'PS256', 'RS256'] as const
/** The supported algorithms. There is no HMAC and no `none`. */
export const ALGORITHMS = [...DEFAULT_ALGORITHMS, 'ES512'] as const
/** A supported algorithm. */
export type Algorithm = (typeof ALGORITHMS)[number]

/** RFC 7518 sections 6.2.2, 6.3.2 and 6.4. */
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']
/** The curve's algorithm, and the length of a coordinate in bytes. */
const CURVES: Record<string, readonly [Algorithm, number]> = {
  'P-256': ['ES256', 32],
  'P-384': ['ES384', 48],
  'P-521': ['ES512', 66],
}
const MODULUS_BYTES_MIN = 256
const MODULUS_BITS_MAX = 8192
const EXPONENT_BITS_MAX = 33
/** Keys that are tried for one token. Each costs one signature check, which an attacker can cause. */
const CANDIDATES_MAX = 4

/** Returns the algorithm of a JOSE name. `Ed25519` is RFC 9864's name for `EdDSA`. */
export function algorithmOf(name: string): Algorithm | undefined {
  const known = name === 'Ed25519' ? 'EdDSA' : name
  return ALGORITHMS.find((algorithm) => algorithm === known)
}

/** The error of a JWK that is not a public signing key of a known algorithm. */
class UnusableKey extends Error {}

/** The error of a document that is no JWK Set, or that lists keys and none is usable. */
export class KeySetError extends Error {
  override name = 'KeySetError'
}

/** A public key with its one algorithm. A token's header cannot choose another (RFC 8725 section 3.1). */
export class VerifyingKey {
  private constructor(
    readonly keyId: string | undefined,
    readonly algorithm: Algorithm,
    private readonly key: CryptoKey,
    /** Equal keys have an equal identity. */
    readonly identity: string,
  ) {}

  /** Reads a public JWK, strict JSON. Rejects with UnusableKey. */
  static async of(jwk: JsonObject): Promise<VerifyingKey> {
    checkUse(jwk)
    const keyId = optionalText(jwk, 'kid')
    const declaredName = optionalText(jwk, 'alg')
    const declared = declaredName === undefined ? undefined : algorithmOf(declaredName)
    if (declaredName !== undefined && !declared) throw new UnusableKey('its alg is not supported')
    const kty = optionalText(jwk, 'kty')
    const read = kty === 'EC' ? ec : kty === 'OKP' ? okp : kty === 'RSA' ? rsa : undefined
    if (!read) throw new UnusableKey('its kty is not EC, OKP or RSA')
    const [algorithm, parameters] = read(jwk, declared)
    const key = await importJWK({ kty: kty as string, ...parameters }, algorithm)
    if (key instanceof Uint8Array) throw new UnusableKey('its parameters are not a key')
    return new VerifyingKey(keyId, algorithm, key, JSON.stringify([keyId ?? null, algorithm, parameters]))
  }

  /** Returns true if this key signed the token. */
  async verifies(token: string): Promise<boolean> {
    try {
      await compactVerify(token, this.key, { algorithms: [this.algorithm, 'Ed25519'] })
      return true
    } catch {
      return false
    }
  }
}

/** An immutable set of keys. Unusable keys are skipped. */
export class KeySet {
  readonly #keys: readonly VerifyingKey[]
  readonly #identities: ReadonlySet<string>

  private constructor(
    keys: readonly VerifyingKey[],
    /** The number of the document's unusable keys. */
    readonly skipped: number,
  ) {
    this.#keys = keys
    this.#identities = new Set(keys.map((key) => key.identity))
  }

  /** The number of usable keys. */
  get size(): number {
    return this.#keys.length
  }

  /** Reads a JWK Set. Rejects with KeySetError when it is not a JSON object with an array `keys`. */
  static async fromJwks(document: Uint8Array | string): Promise<KeySet> {
    const bytes = typeof document === 'string' ? Buffer.from(document) : document
    let jwks: Json | undefined
    try {
      const value = lenient(bytes)
      jwks = isObject(value) ? value['keys'] : undefined
      if (isObject(value) && entries(bytes).filter(([name]) => name === 'keys').length !== 1) jwks = undefined
    } catch (error) {
      if (!(error instanceof NotStrict)) throw error
    }
    if (!Array.isArray(jwks)) throw new KeySetError('not a JWK Set (RFC 7517 section 5)')
    return KeySet.of(jwks)
  }

  /** Reads JWKs, each in its JSON. */
  static fromTexts(texts: Iterable<string>): Promise<KeySet> {
    const jwks = [...texts].map((text) => {
      try {
        return lenient(Buffer.from(text))
      } catch {
        return null
      }
    })
    return KeySet.of(jwks)
  }

  private static async of(jwks: readonly Json[]): Promise<KeySet> {
    const read = jwks.map(async (jwk) => {
      check(jwk)
      if (!isObject(jwk)) throw new UnusableKey('not a JSON object')
      return VerifyingKey.of(jwk)
    })
    const settled = await Promise.allSettled(read)
    const keys = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
    return new KeySet(keys, settled.length - keys.length)
  }

  /** Returns the set. Throws KeySetError if it lists keys and none is usable: a mistake of the issuer. */
  usable(): this {
    if (this.size === 0 && this.skipped > 0) throw new KeySetError('the key set has no usable key')
    return this
  }

  /**
   * Returns the keys that may have signed a token. Undefined if the set has no such key. Empty if the key
   * exists for another algorithm.
   */
  candidates(keyId: string | undefined, algorithm: Algorithm): VerifyingKey[] | undefined {
    const fits = (key: VerifyingKey) => key.algorithm === algorithm
    if (keyId === undefined) {
      const keys = this.#keys.filter(fits).slice(0, CANDIDATES_MAX)
      return keys.length > 0 ? keys : undefined
    }
    const named = this.#keys.filter((key) => key.keyId === keyId)
    return named.length > 0 ? named.filter(fits).slice(0, CANDIDATES_MAX) : undefined
  }

  /** Returns true if the set contains the key. */
  holds(key: VerifyingKey): boolean {
    return this.#identities.has(key.identity)
  }

  /** Returns true if both sets have the same keys. */
  isSame(other: KeySet): boolean {
    return this.size === other.size && other.#keys.every((key) => this.holds(key))
  }
}

function checkUse(jwk: JsonObject): void {
  if (PRIVATE_MEMBERS.some((member) => member in jwk)) throw new UnusableKey('it has a private member')
  if ('use' in jwk && jwk['use'] !== 'sig') throw new UnusableKey('its use is not sig')
  const operations = jwk['key_ops']
  if ('key_ops' in jwk && !(Array.isArray(operations) && operations.includes('verify'))) {
    throw new UnusableKey('its key_ops do not allow verify')
  }
}

type Read = readonly [Algorithm, Record<string, string>]

function ec(jwk: JsonObject, declared: Algorithm | undefined): Read {
  const crv = optionalText(jwk, 'crv') ?? ''
  const curve = Object.hasOwn(CURVES, crv) ? CURVES[crv] : undefined
  if (!curve) throw new UnusableKey('its crv is not supported')
  const [algorithm, length] = curve
  agree(declared, algorithm)
  const [x, y] = [bytes(jwk, 'x'), bytes(jwk, 'y')]
  // RFC 7518 section 6.2.1.2: full length, leading zeros kept.
  if (x.length !== length || y.length !== length) throw new UnusableKey("a coordinate lacks the curve's length")
  return [algorithm, { crv, x: encode(x), y: encode(y) }]
}

function okp(jwk: JsonObject, declared: Algorithm | undefined): Read {
  if (optionalText(jwk, 'crv') !== 'Ed25519') throw new UnusableKey('its crv is not supported')
  agree(declared, 'EdDSA')
  const x = bytes(jwk, 'x')
  if (x.length !== 32) throw new UnusableKey("a coordinate lacks the curve's length")
  return ['EdDSA', { crv: 'Ed25519', x: encode(x) }]
}

function rsa(jwk: JsonObject, declared: Algorithm | undefined): Read {
  // RFC 9068 section 2.1 requires RS256.
  const algorithm = declared ?? 'RS256'
  if (algorithm !== 'RS256' && algorithm !== 'PS256') throw new UnusableKey('its alg does not belong to its kty')
  const [n, e] = [number(jwk, 'n'), number(jwk, 'e')]
  if (n.length < MODULUS_BYTES_MIN) throw new UnusableKey('its modulus has less than 2048 bits')
  if (bits(n) > MODULUS_BITS_MAX) throw new UnusableKey('its modulus has more than 8192 bits')
  const odd = (value: Buffer) => (value.at(-1) ?? 0) % 2 === 1
  if (!odd(n) || !odd(e) || (e.length === 1 && e[0] === 1) || bits(e) > EXPONENT_BITS_MAX) {
    throw new UnusableKey('its modulus or its exponent is not one of an RSA key')
  }
  return [algorithm, { n: encode(n), e: encode(e) }]
}

/** Some issuers write leading zero octets, although RFC 7518 section 6.3.1.1 forbids them. */
function number(jwk: JsonObject, name: string): Buffer {
  const octets = bytes(jwk, name)
  const first = octets.findIndex((octet) => octet !== 0)
  return first < 0 ? Buffer.alloc(0) : octets.subarray(first)
}

function bits(value: Buffer): number {
  return value.length * 8 - Math.clz32(value[0] ?? 0) + 24
}

function agree(declared: Algorithm | undefined, algorithm: Algorithm): void {
  if (declared !== undefined && declared !== algorithm) throw new UnusableKey('its alg does not belong to its crv')
}

function optionalText(jwk: JsonObject, name: string): string | undefined {
  const value = jwk[name]
  if (name in jwk && typeof value !== 'string') throw new UnusableKey('a member has the wrong type')
  return value as string | undefined
}

function bytes(jwk: JsonObject, name: string): Buffer {
  const text = optionalText(jwk, name)
  if (text === undefined) throw new UnusableKey('a key parameter is missing')
  const decoded = decode(text)
  if (!decoded) throw new UnusableKey('a key parameter is not base64url')
  return decoded
}
