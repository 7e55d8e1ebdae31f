/** Strict base64url without padding: RFC 7515 section 2. */

/** Returns the bytes; undefined for padding, other characters, and unused bits that are set. */
export function decode(text: string): Buffer | undefined {
  if (!/^[A-Za-z0-9_-]*$/.test(text) || text.length % 4 === 1) return undefined
  const decoded = Buffer.from(text, 'base64url')
  return decoded.toString('base64url') === text ? decoded : undefined
}

/** Returns the text without padding. */
export function encode(data: Uint8Array): string {
  return Buffer.from(data).toString('base64url')
}
