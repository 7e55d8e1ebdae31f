/**
 * The answer of a token endpoint: RFC 6749 sections 5.1 and 5.2. Strict about the token, lenient about
 * advisory members.
 */

import { LIFETIME_MAX } from './machine.js'
import { IssuedToken, LIFETIME_DEFAULT, refusalOfCode, SourceError } from './source.js'
import { entries, NotStrict, NumberText, parseObject } from './strict-json.js'

/** RFC 6749 sections 4.1.2.1 and 5.2, RFC 8693 section 2.2.2, RFC 8707 section 2. */
const OAUTH_CODES: ReadonlySet<string> = new Set([
  'invalid_request',
  'invalid_client',
  'invalid_grant',
  'unauthorized_client',
  'unsupported_grant_type',
  'invalid_scope',
  'invalid_target',
  'access_denied',
  'temporarily_unavailable',
  'server_error',
  'slow_down',
])
const TRANSIENT_CODES: ReadonlySet<string> = new Set(['temporarily_unavailable', 'server_error', 'slow_down'])
/** Statuses of a URL that the token endpoint has left. */
const GONE: ReadonlySet<number> = new Set([404, 405, 410])
/** The longest text that is kept of an error, in characters. */
const DESCRIPTION_MAX = 200

/** An HTTP response. The names of headers are in lower case. */
export interface HttpResponse {
  status: number
  headers: Readonly<Record<string, string>>
  body: Uint8Array
}

/** Reads the answer: a token, or throws SourceError. `now` is the wall clock in milliseconds. */
export function readToken(response: HttpResponse, now: number): IssuedToken {
  if (response.status === 200) return token(response.body)
  const [code, message] = refusal(response)
  const retryAfter = retryAfterOf(response.headers, now)
  throw new SourceError(message || `the token endpoint answered ${response.status}`, {
    ...(code && { refusal: refusalOfCode(code) }),
    ...(retryAfter !== undefined && { retryAfter }),
  })
}

/** Returns true if the answer must be a token endpoint's: a token, or an OAuth error code. */
export function isOfTokenEndpoint({ status, body }: HttpResponse): boolean {
  if (status >= 200 && status < 300) {
    try {
      return members(body).accessToken !== undefined
    } catch {
      return false
    }
  }
  return !GONE.has(status) && OAUTH_CODES.has(errorCode(body))
}

function token(body: Uint8Array): IssuedToken {
  const { accessToken, tokenType, expiresIn, refreshIn } = members(body)
  if (accessToken === undefined) throw new SourceError("the token endpoint's answer has no access_token")
  if (tokenType === undefined) throw new SourceError("the token endpoint's answer has no token_type")
  if (!/^bearer$/i.test(tokenType)) throw new SourceError("the token endpoint's token is not a bearer token")
  try {
    return new IssuedToken(accessToken, expiresIn ?? LIFETIME_DEFAULT, refreshIn)
  } catch {
    throw new SourceError("the token endpoint's access_token is malformed")
  }
}

interface Members {
  accessToken?: string
  tokenType?: string
  expiresIn?: number
  refreshIn?: number
}

/** Returns the members that are read. Others may have any form, and may repeat. */
function members(body: Uint8Array): Members {
  const malformed = new SourceError("the token endpoint's answer is not a JSON object with one token")
  const found: Members = {}
  let pairs: [string, unknown][]
  try {
    pairs = entries(body)
  } catch (error) {
    if (error instanceof NotStrict) throw malformed
    throw error
  }
  for (const [name, value] of pairs) {
    if (name === 'access_token' || name === 'token_type') {
      const member = name === 'access_token' ? 'accessToken' : 'tokenType'
      // Two tokens would be ambiguous.
      if (member in found || typeof value !== 'string') throw malformed
      found[member] = value
    } else if (name === 'expires_in' || name === 'refresh_in') {
      const member = name === 'expires_in' ? 'expiresIn' : 'refreshIn'
      const seconds = secondsOf(value)
      if (seconds !== undefined) found[member] = Math.min(found[member] ?? seconds, seconds)
    }
  }
  return found
}

/**
 * Parses a number of seconds in any form that servers send, rounded down; in milliseconds. Undefined for
 * any other value.
 */
function secondsOf(value: unknown): number | undefined {
  const text = value instanceof NumberText ? value.text : typeof value === 'string' ? value.trim() : ''
  if (!/^\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$/.test(text)) return undefined
  return Math.min(Math.floor(Number(text)) * 1_000, LIFETIME_MAX)
}

/**
 * Returns the OAuth error code of a refusal and a text for the log; empty for an outage. Overload is no
 * refusal, even if the body says so. Nor is a missing endpoint, unless its body has an OAuth error code.
 */
function refusal({ status, body }: HttpResponse): [string, string] {
  if (status < 400 || status >= 500 || status === 408 || status === 429) return ['', '']
  const code = errorCode(body)
  if (!code || TRANSIENT_CODES.has(code) || (GONE.has(status) && !OAUTH_CODES.has(code))) return ['', '']
  const description = parseObject(body)['error_description']
  return [code, `${printable(code)}: ${printable(typeof description === 'string' ? description : '')}`]
}

function errorCode(body: Uint8Array): string {
  try {
    const code = parseObject(body)['error']
    return typeof code === 'string' ? code : ''
  } catch {
    return ''
  }
}

/**
 * Keeps the characters that RFC 6749 section 5.2 allows in an error, so that the text cannot forge log
 * lines.
 */
function printable(text: string): string {
  return text.replace(/[^ !#-[\]-~]/g, '').slice(0, DESCRIPTION_MAX)
}

/** RFC 9110 section 10.2.3: seconds, or a date by the server's own clock; in milliseconds. */
function retryAfterOf(headers: Readonly<Record<string, string>>, now: number): number | undefined {
  const value = (headers['retry-after'] ?? '').trim()
  if (/^[0-9]+$/.test(value)) return Math.min(Number(value) * 1_000, LIFETIME_MAX)
  const at = date(value)
  if (at === undefined) return undefined
  const pause = at - (date(headers['date'] ?? '') ?? now)
  return pause >= 0 ? Math.min(pause, LIFETIME_MAX) : undefined
}

/** RFC 9110 section 5.6.7. */
function date(text: string): number | undefined {
  if (!/^[A-Za-z]+,? .*[0-9]{2}:[0-9]{2}:[0-9]{2}/.test(text)) return undefined
  const parsed = Date.parse(text)
  return Number.isNaN(parsed) ? undefined : parsed
}
