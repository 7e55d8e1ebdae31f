/** The decision on a call: policy → bearer → verification → requirement. The server carries it out. */

import { AsyncLocalStorage } from 'node:async_hooks'
import { Answer, MARK, mark, type Trailer } from './answers.js'
import { bearer } from './bearer.js'
import { Denied } from './errors.js'
import { type Log, silent } from './log.js'
import type { Demands, Method } from './policy.js'
import type { Caller } from './token.js'
import type { Verifier } from './verify.js'

const current = new AsyncLocalStorage<Caller | undefined>()

/**
 * Returns the verified caller of the call that is being served. Undefined for a public method, unless the
 * method says `identify` and the call has a token.
 */
export function currentCaller(): Caller | undefined {
  return current.getStore()
}

/** Runs work on behalf of a caller. The server layer calls it. */
export function serveAs<T>(caller: Caller | undefined, work: () => T): T {
  return current.run(caller, work)
}

/** The outcome of a decision that lets the call pass. */
export interface Entry {
  /** Undefined for a public method and an anonymous call. In observe mode also if the token is invalid. */
  readonly caller?: Caller
  /** The method, if the call ends with its token. */
  readonly endsWith?: Method
  /** In observe mode, the refusal that would have been made. */
  readonly wouldDeny?: Denied
}

/** The settings of a layer. */
export interface LayerOptions {
  /** True to decide, record and let every call pass. */
  observe?: boolean
  /** Called for each call that is refused, or would be in observe mode. */
  onDenied?: (path: string, denied: Denied) => void
  /** Takes the log's lines. Default: none. */
  log?: Log
}

/**
 * The longest time between two checks of a call in progress, in milliseconds. A revocation may have
 * arrived.
 */
const DOZE_MAX = 500

/** A policy, a verifier, and the mode. */
export class Layer {
  /** Throws PolicyError when the policy names callers that the verifier cannot tell apart. */
  constructor(
    readonly verifier: Verifier,
    readonly demands: Demands,
    private readonly options: LayerOptions = {},
  ) {
    verifier.checkDemands(demands)
  }

  /**
   * Decides on a call. Throws Denied, and in observe mode records it instead. Returns a promise only where
   * the token was not seen before.
   */
  enter(path: string, authorization: readonly (string | Buffer)[]): Entry | Promise<Entry> {
    let method: Method
    let caller: Caller | Promise<Caller>
    try {
      method = this.demands.of(path)
      if (!method.requirement || (method.optional && authorization.length === 0)) return {}
      caller = this.verifier.verify(bearer(authorization), method.audience)
    } catch (error) {
      return this.#refused(path, error)
    }
    if (!(caller instanceof Promise)) return this.#authorized(path, method, caller)
    return caller.then(
      (verified) => this.#authorized(path, method, verified),
      (error: unknown) => this.#refused(path, error),
    )
  }

  /**
   * Checks a call in progress. Returns the milliseconds until the next check. Rejects with Denied to end
   * it.
   */
  async look(path: string, { caller, endsWith }: Entry): Promise<number> {
    if (!caller || !endsWith) return DOZE_MAX
    try {
      return Math.min(await this.verifier.checkAgain(endsWith, caller), DOZE_MAX)
    } catch (error) {
      if (error instanceof Denied) this.#record(path, error)
      throw error
    }
  }

  #authorized(path: string, method: Method, caller: Caller): Entry {
    try {
      this.verifier.require(method, caller)
    } catch (error) {
      // The handler may know the caller, although the method demands more.
      return { ...this.#refused(path, error), caller }
    }
    const unary = !method.clientStreaming && !method.serverStreaming
    const outlives = unary || method.requirement?.outlivesToken || this.options.observe
    return outlives ? { caller } : { caller, endsWith: method }
  }

  #refused(path: string, error: unknown): Entry {
    if (!(error instanceof Denied)) throw error
    this.#record(path, error)
    if (!this.options.observe) throw error
    return { wouldDeny: error }
  }

  #record(path: string, denied: Denied): void {
    const { observe, onDenied, log = silent } = this.options
    log('info', `a call of ${path} is refused${observe ? ' (observed)' : ''}: ${denied.message}`)
    onDenied?.(path, denied)
  }
}

/** Returns the trailing metadata of a refusal, with the layer's mark. */
export function refusalTrailers(denied: Denied, stage: string, path: string): Trailer[] {
  return [...Answer.of(denied).trailers(), ...mark(denied, stage, path)]
}

/** Returns the trailers of a handler's answer without marks: only the layer itself makes one. */
export function withoutMarks<T extends readonly [string, unknown]>(trailers: readonly T[]): T[] {
  return trailers.filter(([name]) => name.toLowerCase() !== MARK)
}
