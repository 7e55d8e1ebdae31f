/** The permitted destinations of credentials and tokens: over TLS, or on this machine. */

import { isIP } from 'node:net'

/** The error of a plaintext destination on another machine: an attacker on the path could read the token. */
export class PlaintextRefused extends Error {
  override name = 'PlaintextRefused'

  constructor(destination: string) {
    super(`${destination} is plaintext and not on this machine: use TLS`)
  }
}

/** Returns true for `localhost` and for loopback addresses. */
export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, '')
  if (bare.toLowerCase() === 'localhost') return true
  if (isIP(bare) === 4) return bare.startsWith('127.')
  return isIP(bare) === 6 && new URL(`http://[${bare}]`).hostname === '[::1]'
}

/** Returns the URL of an issuer. Throws TypeError, and PlaintextRefused for plaintext to another machine. */
export function checkUrl(text: string): URL {
  const url = new URL(text)
  if (!['https:', 'http:'].includes(url.protocol)) throw new TypeError('an issuer has an https URL')
  // The path and the user information may hold secrets.
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) throw new PlaintextRefused(`http://${url.hostname}`)
  return url
}

/** Throws PlaintextRefused unless the target of a plaintext channel is on this machine. */
export function checkTarget(target: string): void {
  if (/^(?:unix|unix-abstract):/.test(target)) return
  const addresses = target.replace(/^(?:dns|ipv4|ipv6):(?:\/\/[^/]*\/)?/, '').split(',')
  for (const address of addresses) {
    const host = /^\[.*\]/.exec(address)?.[0] ?? (isIP(address) ? address : address.replace(/:[0-9]*$/, ''))
    if (!isLoopback(host)) throw new PlaintextRefused(host)
  }
}
