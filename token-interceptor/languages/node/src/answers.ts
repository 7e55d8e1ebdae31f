/** The answers to refused calls: code, details, challenge and mark. */

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { type Any, anyPack, anyUnpack, type Duration, DurationSchema } from '@bufbuild/protobuf/wkt'
import { ErrorInfoSchema, RetryInfoSchema } from './gen/google/rpc/error_details_pb.js'
import { StatusSchema } from './gen/google/rpc/status_pb.js'
import { type Denied, ERROR_DOMAIN } from './errors.js'

/**
 * The trailer by which a server layer marks its own refusals. A layer removes it from the handlers'
 * answers.
 */
export const MARK = 'token-refused'
/** The stage of a refusal before the handler, which never ran. */
export const BEFORE_HANDLER = 'before-handler'
/** The stage of a refusal after the handler began. */
export const AFTER_HANDLER = 'after-handler'

/** The gRPC status codes that the layers use. */
export const Code = {
  DEADLINE_EXCEEDED: 4,
  INVALID_ARGUMENT: 3,
  PERMISSION_DENIED: 7,
  FAILED_PRECONDITION: 9,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const

/** The gRPC code and the OAuth error (RFC 6750, RFC 6749) of each reason. */
const ROWS: Record<string, readonly [number, string]> = {
  CREDENTIALS_MISSING: [Code.UNAUTHENTICATED, 'invalid_request'],
  TOKEN_INVALID: [Code.UNAUTHENTICATED, 'invalid_token'],
  TOKEN_EXPIRED: [Code.UNAUTHENTICATED, 'invalid_token'],
  TOKEN_REVOKED: [Code.UNAUTHENTICATED, 'invalid_token'],
  TOKEN_KEY_UNKNOWN: [Code.UNAUTHENTICATED, 'invalid_token'],
  TOKEN_AUDIENCE_MISMATCH: [Code.UNAUTHENTICATED, 'invalid_token'],
  CLIENT_AUTHENTICATION_FAILED: [Code.UNAUTHENTICATED, 'invalid_client'],
  SCOPE_INSUFFICIENT: [Code.PERMISSION_DENIED, 'insufficient_scope'],
  CALLER_NOT_ALLOWED: [Code.PERMISSION_DENIED, 'access_denied'],
  TOKEN_TOO_OLD: [Code.PERMISSION_DENIED, 'access_denied'],
  METHOD_NOT_DECLARED: [Code.PERMISSION_DENIED, 'access_denied'],
  CLIENT_NOT_AUTHORIZED: [Code.PERMISSION_DENIED, 'unauthorized_client'],
  INVALID_GRANT: [Code.INVALID_ARGUMENT, 'invalid_request'],
  PRECONDITION_FAILED: [Code.FAILED_PRECONDITION, 'invalid_request'],
  TRUST_UNAVAILABLE: [Code.UNAVAILABLE, 'temporarily_unavailable'],
  ISSUER_UNAVAILABLE: [Code.UNAVAILABLE, 'temporarily_unavailable'],
}
const INTERNAL = [Code.INTERNAL, 'server_error'] as const

/** A trailer: its name and its value. */
export type Trailer = [string, string | Buffer]

/** A refusal, before it takes the form of a protocol. */
export class Answer {
  constructor(
    readonly reason: string,
    readonly sentence: string,
    /** `ErrorInfo.metadata`. */
    readonly metadata: Readonly<Record<string, string>> = {},
    /** Milliseconds to wait before a retry. */
    readonly retryAfter?: number,
    /** Details for the program itself, appended to the sentence. Only the client side sets it. */
    readonly about = '',
  ) {}

  /** Returns the answer to a refused caller. */
  static of(denied: Denied): Answer {
    const metadata: Record<string, string> = denied.scopes.length > 0 ? { scope: denied.scopes.join(' ') } : {}
    return new Answer(denied.reason, denied.sentence, metadata, denied.retryAfter)
  }

  /** The gRPC status code. */
  get code(): number {
    return (ROWS[this.reason] ?? INTERNAL)[0]
  }

  /** The status message. */
  get message(): string {
    return this.about ? `${this.sentence}: ${this.about}` : this.sentence
  }

  /** The `www-authenticate` metadata of RFC 6750 section 3; empty where another token does not help. */
  get challenge(): string {
    const [, error] = ROWS[this.reason] ?? INTERNAL
    if (this.reason === 'CREDENTIALS_MISSING') return 'Bearer'
    if (error === 'invalid_token') return `Bearer error="${error}", error_description="${this.sentence}"`
    if (error === 'insufficient_scope') return `Bearer error="${error}", scope="${this.metadata['scope'] ?? ''}"`
    return ''
  }

  /** Returns the trailing metadata of the answer. */
  trailers(): Trailer[] {
    const info = create(ErrorInfoSchema, { reason: this.reason, domain: ERROR_DOMAIN, metadata: this.metadata })
    const details: Any[] = [anyPack(ErrorInfoSchema, info)]
    if (this.retryAfter !== undefined) {
      const retryDelay = duration(this.retryAfter)
      details.push(anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay })))
    }
    const status = create(StatusSchema, { code: this.code, message: this.message, details })
    const trailers: Trailer[] = [['grpc-status-details-bin', Buffer.from(toBinary(StatusSchema, status))]]
    if (this.challenge) trailers.push(['www-authenticate', this.challenge])
    return trailers
  }
}

/** Returns the mark of the layer's own refusal, if a new token may cure it. */
export function mark(denied: Denied, stage: string, path: string): Trailer[] {
  return denied.isRenewable && /^[\x20-\x7e]*$/.test(path) ? [[MARK, `${stage} ${path}`]] : []
}

/** The parts of `google.rpc.Status` that the layers read. */
export interface ErrorDetails {
  /** `ErrorInfo.reason`. */
  reason: string
  /** `ErrorInfo.domain`. */
  domain: string
  /** `RetryInfo.retry_delay`, in milliseconds. */
  retryAfter?: number
}

/** Reads the value of `grpc-status-details-bin`. */
export function errorDetails(encoded: string | Uint8Array | undefined): ErrorDetails {
  const found: ErrorDetails = { reason: '', domain: '' }
  if (encoded === undefined || typeof encoded === 'string') return found
  try {
    for (const detail of fromBinary(StatusSchema, encoded).details) {
      const info = anyUnpack(detail, ErrorInfoSchema)
      if (info) Object.assign(found, { reason: info.reason, domain: info.domain })
      const retry = anyUnpack(detail, RetryInfoSchema)
      if (retry?.retryDelay) found.retryAfter = milliseconds(retry.retryDelay)
    }
  } catch {
    // Not decodable: another program wrote it.
    return { reason: '', domain: '' }
  }
  return found
}

/** Returns milliseconds as a message. */
export function duration(ms: number): Duration {
  const nanos = Math.round(ms * 1e6)
  const seconds = Math.floor(nanos / 1e9)
  return create(DurationSchema, { seconds: BigInt(seconds), nanos: nanos - seconds * 1e9 })
}

/** Returns a message as milliseconds. */
export function milliseconds({ seconds, nanos }: { seconds: bigint; nanos: number }): number {
  return Number(seconds) * 1_000 + nanos / 1e6
}
