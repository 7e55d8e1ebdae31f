/**
 * The token of each call, and the procedure of one call. A call gets a token and is sent. If its token is
 * refused, it gets one new token and is sent once more.
 *
 * The procedure is a generator. It yields what it waits for, so that programs and tests run the same one.
 */

import { AFTER_HANDLER, Answer, BEFORE_HANDLER, Code } from './answers.js'
import { ERROR_DOMAIN, RENEWABLE } from './errors.js'
import { Keeper, NoToken, type Ready, type Runtime } from './keeper.js'
import type { Log } from './log.js'
import { type Demands, matches, type Method } from './policy.js'
import { CAUSE_SENTENCES, type Refusal, TokenRequest, type TokenSource } from './source.js'

/** The longest wait of a call without a deadline for a token, in milliseconds. */
export const WAIT_MAX = 10_000
/** The longest wait of a call that may go without its token. A token usually comes much sooner. */
const OPTIONAL_WAIT_MAX = 1_000
/** The tokens of single calls that are held: those on behalf of callers. The least used are evicted. */
const OCCASIONAL_MAX = 10_000
/** The retry delay for a failure that names none, in milliseconds. */
const RETRY_SOON = 100

/** The needs of one method's calls. */
export interface Need {
  /** Undefined: the calls need no token. */
  readonly request?: TokenRequest
  /** True if a call may be sent again after a refusal before its handler ran. */
  readonly replayable: boolean
  /** True if the method accepts a call without a token too. */
  readonly optional: boolean
}

const NO_NEED: Need = { replayable: false, optional: false }

/** A map from a method's path to the needs of its calls. A method that it does not know gets no token. */
export class Needs {
  readonly #needs = new Map<string, Need>()

  constructor(demands: Demands) {
    for (const [path, method] of demands.methods) {
      const replayable = !method.clientStreaming && !method.serverStreaming
      const need = { replayable, optional: method.optional ?? false }
      this.#needs.set(path, method.requirement ? { ...need, request: requestOf(method) } : need)
    }
  }

  /** Returns the needs of a call. */
  of(path: string): Need {
    return this.#needs.get(path) ?? NO_NEED
  }

  /**
   * Makes the named methods share one token for each audience, with the scopes of all of them. A name is a
   * path, `/package.Service/Method`, or a prefix and a `*`. Throws TypeError for a name that matches no
   * method that demands a token.
   */
  share(patterns: readonly string[]): void {
    const named = this.#named(patterns)
    const shared = new Map<string | undefined, TokenRequest>()
    for (const request of named.values()) {
      shared.set(request.audience, shared.get(request.audience)?.union(request) ?? request)
    }
    for (const [path, request] of named) {
      this.#needs.set(path, { ...this.of(path), request: shared.get(request.audience) ?? request })
    }
  }

  /** Forbids that calls of the named methods are sent twice. Names and errors are those of `share`. */
  neverReplay(patterns: readonly string[]): void {
    for (const path of this.#named(patterns).keys()) this.#needs.set(path, { ...this.of(path), replayable: false })
  }

  #named(patterns: readonly string[]): Map<string, TokenRequest> {
    const found = new Map<string, TokenRequest>()
    for (const pattern of patterns) {
      let known = false
      for (const [path, { request }] of this.#needs) {
        if (!request || !matches(pattern, path)) continue
        found.set(path, request)
        known = true
      }
      if (!known) throw new TypeError(`"${pattern}" names no method of the policy that demands a token`)
    }
    return found
  }
}

/** Requests exactly what the method demands. Of alternative scopes it requests only the first. */
function requestOf({ audience, requirement }: Method): TokenRequest {
  const { allScopes = [], anyScopes = [], maxTokenAge } = requirement ?? {}
  const met = anyScopes.some((scope) => allScopes.includes(scope))
  const any = met ? [] : anyScopes.slice(0, 1)
  return new TokenRequest(audience, [...allScopes, ...any], maxTokenAge === undefined ? undefined : maxTokenAge * 1_000)
}

/** The tokens of one source: one for each request. */
export class Tokens {
  readonly #standing = new Map<string, Keeper>()
  readonly #occasional = new Map<string, Keeper>()

  constructor(
    private readonly source: TokenSource,
    readonly runtime: Runtime,
    private readonly log?: Log,
  ) {}

  /** Returns the token of a request. */
  of(request: TokenRequest): Keeper {
    const { key } = request
    const standing = this.#standing.get(key)
    if (standing) return standing
    if (request.subject === undefined) {
      // A token with a maximum age is renewed only while calls use it: otherwise without end.
      const keeper = this.#keeper(request, request.maxAge !== undefined)
      this.#standing.set(key, keeper)
      return keeper
    }
    const keeper = this.#occasional.get(key) ?? this.#keeper(request, true)
    this.#occasional.delete(key)
    this.#occasional.set(key, keeper)
    if (this.#occasional.size > OCCASIONAL_MAX) {
      const oldest = this.#occasional.entries().next()
      if (!oldest.done) {
        this.#occasional.delete(oldest.value[0])
        oldest.value[1].close()
      }
    }
    return keeper
  }

  /** Ends the renewal of all tokens. */
  close(): void {
    for (const keeper of [...this.#standing.values(), ...this.#occasional.values()]) keeper.close()
  }

  #keeper(request: TokenRequest, whileUsed: boolean): Keeper {
    return new Keeper(request, (one) => this.source.fetch(one), this.runtime, whileUsed, this.log)
  }
}

/** The answer of the called server to one attempt. */
export interface Reply {
  /** The gRPC status code. */
  readonly code: number
  /** The values of the mark. */
  readonly marks: readonly string[]
  /** `ErrorInfo.reason`. */
  readonly reason: string
  /** `ErrorInfo.domain`. */
  readonly domain: string
}

/** A step of a call that needs the outside. */
export type Step =
  /** Waits for a token, or for one newer than the rejected generation, up to a monotonic time. */
  | { kind: 'obtain'; keeper: Keeper; until: number; rejected: number }
  /** Sends the call with this token, or without one. */
  | { kind: 'send'; token: Ready | undefined }

/** The terms of one call. */
export interface Terms {
  /** True if the call may be sent again after a refusal before its handler ran. */
  readonly replayable: boolean
  /** True if the call goes without a token where there is none. */
  readonly optional: boolean
  /** The end of the call, as a monotonic time. */
  readonly deadline?: number | undefined
  /** The longest wait for a token, in milliseconds. Default: 10 s. */
  readonly waitMax?: number | undefined
}

/** Returns the time until which the call waits for a token. */
export function untilOf({ optional, deadline, waitMax = WAIT_MAX }: Terms, runtime: Runtime): number {
  const patience = runtime.now().monotonic + (optional ? Math.min(waitMax, OPTIONAL_WAIT_MAX) : waitMax)
  return Math.min(patience, deadline ?? Number.POSITIVE_INFINITY)
}

function isLate({ deadline }: Terms, runtime: Runtime): boolean {
  return deadline !== undefined && runtime.now().monotonic >= deadline
}

/** The outcome of a call that cannot get a token. */
export interface Failure {
  readonly code: number
  /** Undefined for a deadline, which the program chose. */
  readonly answer?: Answer
  readonly message: string
}

/** Returns the stage at which the called server's layer refused the token, if a new one may help. */
export function refusedStage({ code, marks, reason, domain }: Reply, path: string): string | undefined {
  // Both mark and reason must be present. Any program may write the reason.
  const [mark] = marks
  if (code !== Code.UNAUTHENTICATED || marks.length !== 1 || mark === undefined) return undefined
  if (domain !== ERROR_DOMAIN || !RENEWABLE.has(reason)) return undefined
  return [BEFORE_HANDLER, AFTER_HANDLER].find((stage) => mark === `${stage} ${path}`)
}

/** What a procedure yields, what it returns, and what it is sent. */
export type Procedure<R extends Reply> = Generator<Step, { reply: R } | { failure: Failure }, Ready | NoToken | R | undefined>

/** Runs one call. `obtain` is answered with undefined when the time is over, and `send` with the reply. */
export function* procedure<R extends Reply>(
  keeper: Keeper,
  path: string,
  terms: Terms,
  runtime: Runtime,
): Procedure<R> {
  let ready = keeper.ready()
  if (!ready) {
    const until = untilOf(terms, runtime)
    const outcome = yield { kind: 'obtain', keeper, until, rejected: 0 }
    if (isLate(terms, runtime) || (!outcome && until === terms.deadline)) return { failure: deadlineExceeded() }
    if (outcome && isReady(outcome)) ready = outcome
    else if (terms.optional) return { reply: (yield { kind: 'send', token: undefined }) as R }
    else return { failure: outcome instanceof NoToken ? noToken(outcome) : tooSlow() }
  }
  const reply = (yield { kind: 'send', token: ready }) as R
  return yield* after(keeper, path, terms, runtime, { ready, reply })
}

/** Runs the part of a call after its first reply: a refused token is replaced, and the call sent again. */
export function* after<R extends Reply>(
  keeper: Keeper,
  path: string,
  terms: Terms,
  runtime: Runtime,
  { ready, reply }: { ready: Ready; reply: R },
): Procedure<R> {
  const stage = refusedStage(reply, path)
  if (!stage) return { reply }
  if (stage !== BEFORE_HANDLER || !terms.replayable) {
    keeper.reject(ready.generation)
    return { reply }
  }
  const newer = yield { kind: 'obtain', keeper, until: untilOf(terms, runtime), rejected: ready.generation }
  // A source that returns the same token again has no better one.
  if (!newer || !isReady(newer) || newer.value === ready.value || isLate(terms, runtime)) return { reply }
  const second = (yield { kind: 'send', token: newer }) as R
  if (refusedStage(second, path)) keeper.reject(newer.generation)
  return { reply: second }
}

function isReady(outcome: Ready | NoToken | Reply): outcome is Ready {
  return 'generation' in outcome
}

const REFUSED: Record<Refusal, readonly [string, string]> = {
  client_authentication: [
    'CLIENT_AUTHENTICATION_FAILED',
    "the issuer refused this client's credentials (invalid_client)",
  ],
  client_not_authorized: [
    'CLIENT_NOT_AUTHORIZED',
    'the issuer does not let this client use this grant (unauthorized_client)',
  ],
  scope: [
    'SCOPE_INSUFFICIENT',
    'the issuer does not grant this client the scopes that the method demands (invalid_scope)',
  ],
  target: [
    'CLIENT_NOT_AUTHORIZED',
    'the issuer does not grant this client the audience that the method demands (invalid_target)',
  ],
  grant: ['INVALID_GRANT', 'the issuer refused the token to be exchanged (invalid_grant)'],
  token: ['CLIENT_AUTHENTICATION_FAILED', 'the token that was provided for this program cannot be used'],
  request: [
    'PRECONDITION_FAILED',
    "the issuer does not understand this client's request for a token; its answer is in the log",
  ],
}

/** An outage of the issuer reads UNAVAILABLE, a configuration fault its own code. */
export function noToken({ error, request, retryIn }: NoToken): Failure {
  const metadata: Record<string, string> = {}
  if (request.audience !== undefined) metadata['audience'] = request.audience
  if (request.scopes.length > 0) metadata['scope'] = request.scopeParameter
  if (error.refusal) {
    const [reason, sentence] = REFUSED[error.refusal]
    return failed(new Answer(reason, sentence, metadata, undefined, String(request)))
  }
  metadata['cause'] = error.reason
  const retryAfter = Math.max(retryIn, 1)
  return failed(new Answer('ISSUER_UNAVAILABLE', CAUSE_SENTENCES[error.reason], metadata, retryAfter, String(request)))
}

/** The source took longer than a call may wait. */
export function tooSlow(): Failure {
  return failed(new Answer('ISSUER_UNAVAILABLE', 'the issuer of access tokens did not answer in time', {}, RETRY_SOON))
}

/** The call's own deadline passed. The only failure without a reason, as the caller chose the deadline. */
function deadlineExceeded(): Failure {
  return { code: Code.DEADLINE_EXCEEDED, message: 'the deadline passed while the access token was being obtained' }
}

/** Returns the failure with an answer. */
export function failed(answer: Answer): Failure {
  return { code: answer.code, answer, message: answer.message }
}
