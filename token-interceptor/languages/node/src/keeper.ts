/**
 * One access token, renewed in time: the shell around `machine`.
 *
 * A call never waits if there is a usable token. Renewal happens in the background, ahead of expiry, one
 * request at a time. A call that gives up cancels nothing.
 */

import { type Log, silent } from './log.js'
import { type Event, hasReached, Machine, type Now, plus } from './machine.js'
import { IssuedToken, SourceError, type TokenRequest } from './source.js'

/**
 * The time after which an attempt has failed, in milliseconds. It outlasts a stall of 30 s, as a retry
 * would only lengthen the issuer's queue.
 */
const ATTEMPT_MAX = 30_500
/** The longest delay of a timer of Node, in milliseconds. */
const TIMER_MAX = 2 ** 31 - 1

/** A usable token. Its generation tells if a rejection of it is news. */
export interface Ready {
  readonly value: string
  readonly generation: number
  /** The value of the call's `authorization`. */
  readonly header: string
}

/** The reason that there is no usable token. Every call that waited for it gets the same failure. */
export class NoToken extends Error {
  override name = 'NoToken'

  constructor(
    readonly request: TokenRequest,
    readonly error: SourceError,
    /** The time until the next request, in milliseconds. */
    readonly retryIn: number,
  ) {
    super(`no access token for ${request}: ${error.message}`)
  }
}

/** The outcome of one request to a source. */
export type Outcome = IssuedToken | SourceError
/** Called once with the outcome of a wait. Undefined: no replacement is to arrive now. */
export type Waiter = (outcome: Ready | NoToken | undefined) => void

/** The clocks, the random draw, the timers, and the requests. Times are milliseconds. */
export interface Runtime {
  /** Reads both clocks. */
  now(): Now
  /** Returns a random number, uniform in 0.0..1.0. */
  draw(): number
  /** Calls at that monotonic time, and returns a function that cancels it. */
  callAt(monotonic: number, call: () => void): () => void
  /** Runs one request. */
  run(fetch: () => Promise<IssuedToken>, done: (outcome: Outcome) => void): void
}

/** The runtime of a program. Its timers keep no program alive, except while a call waits. */
export const systemRuntime: Runtime = {
  now: () => ({ monotonic: performance.now(), wall: Date.now() }),
  draw: Math.random,
  callAt(monotonic, call) {
    const pause = Math.max(monotonic - performance.now(), 0)
    // A timer that is too long ends early. The machine then sees that it is not time yet.
    const timer = setTimeout(call, Math.min(Math.ceil(pause), TIMER_MAX))
    timer.unref()
    return () => clearTimeout(timer)
  },
  run(fetch, done) {
    fetch().then(done, (error: unknown) => {
      // The message of a foreign error may hold a secret.
      done(error instanceof SourceError ? error : new SourceError('the token source failed'))
    })
  },
}

/** One token. */
export class Keeper {
  readonly #machine: Machine
  #value = ''
  #ready: Ready = { value: '', generation: 0, header: '' }
  #error: SourceError | undefined
  #attempt = 0
  #askedAt: Now
  #cancelTimer: (() => void) | undefined
  #cancelAttempt: (() => void) | undefined
  #wake: number | undefined
  #nudged = false
  #closed = false
  #waiting: { rejected: number; waiter: Waiter }[] = []

  constructor(
    readonly request: TokenRequest,
    private readonly fetch: (request: TokenRequest) => Promise<IssuedToken>,
    private readonly runtime: Runtime,
    whileUsed = false,
    private readonly log: Log = silent,
  ) {
    this.#machine = new Machine(whileUsed)
    this.#askedAt = runtime.now()
  }

  /** Returns the token while both clocks say that it is valid. Never waits. */
  ready(): Ready | undefined {
    const now = this.runtime.now()
    const { held } = this.#machine
    if (!held || hasReached(now, held.expiresAt)) return undefined
    this.#machine.used = true
    if (!this.#nudged && hasReached(now, held.renewAt)) {
      // The timer stands still while the machine is suspended; the wall clock does not.
      this.#nudged = true
      this.#tell({ kind: 'wanted' })
    }
    return this.#readyOf(held.generation)
  }

  /** Calls `waiter` with a token or with the failure: at once, or when the request has ended. */
  obtain(waiter: Waiter): void {
    this.#tell({ kind: 'wanted' })
    const outcome = this.#look()
    if (outcome) waiter(outcome)
    else this.#waiting.push({ rejected: 0, waiter })
  }

  /** Replaces the token in the background: a server refused this generation. */
  reject(generation: number): void {
    this.#tell({ kind: 'rejected', generation })
  }

  /** Calls `waiter` with a token newer than the rejected one, or with nothing if none is to arrive now. */
  replace(rejected: number, waiter: Waiter): void {
    this.#tell({ kind: 'rejected', generation: rejected })
    const outcome = this.#lookPast(rejected)
    if (outcome === 'pending') this.#waiting.push({ rejected, waiter })
    else waiter(outcome)
  }

  /** Ends the renewal. Waiting calls still get their answer. */
  close(): void {
    this.#closed = true
    this.#setTimer(undefined)
  }

  #look(): Ready | NoToken | undefined {
    const now = this.runtime.now()
    const { held, blamedUntil } = this.#machine
    if (held && !hasReached(now, held.expiresAt)) {
      this.#machine.used = true
      return this.#readyOf(held.generation)
    }
    if (blamedUntil === undefined || !this.#error) return undefined
    return new NoToken(this.request, this.#error, Math.max(blamedUntil - now.monotonic, 0))
  }

  #lookPast(rejected: number): Ready | undefined | 'pending' {
    const { held, inFlight, blamedUntil } = this.#machine
    if (held && held.generation > rejected && !hasReached(this.runtime.now(), held.expiresAt)) {
      return this.#readyOf(held.generation)
    }
    return inFlight && blamedUntil === undefined ? 'pending' : undefined
  }

  /** Returns the same object for each call of a generation. */
  #readyOf(generation: number): Ready {
    if (this.#ready.generation !== generation) {
      this.#ready = { value: this.#value, generation, header: `Bearer ${this.#value}` }
    }
    return this.#ready
  }

  #tell(event: Event): void {
    const now = this.runtime.now()
    const next = this.#machine.handle(event, now, this.runtime.draw())
    if (next.fetch) this.#begin(now)
    this.#setTimer(next.wake)
    this.#settle()
  }

  #begin(now: Now): void {
    const attempt = ++this.#attempt
    this.#askedAt = now
    this.#cancelAttempt = this.runtime.callAt(now.monotonic + ATTEMPT_MAX, () => {
      this.#arrived(attempt, new SourceError('no answer came in time', { cause: 'timed_out' }))
    })
    this.runtime.run(
      async () => this.fetch(this.request),
      (outcome) => this.#arrived(attempt, outcome),
    )
  }

  #setTimer(wake: number | undefined): void {
    if (wake === this.#wake) return
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    this.#wake = this.#closed ? undefined : wake
    if (this.#wake === undefined) return
    this.#cancelTimer = this.runtime.callAt(this.#wake, () => {
      this.#wake = this.#cancelTimer = undefined
      this.#nudged = false
      if (!this.#closed) this.#tell({ kind: 'woke' })
    })
  }

  #arrived(attempt: number, outcome: Outcome): void {
    if (attempt !== this.#attempt || !this.#machine.inFlight) return
    this.#nudged = false
    this.#cancelAttempt?.()
    const now = this.runtime.now()
    if (outcome instanceof IssuedToken && !hasReached(now, plus(this.#askedAt, outcome.expiresIn))) {
      const expiresIn = Math.min(outcome.expiresIn, this.request.maxAge ?? Number.POSITIVE_INFINITY)
      this.#value = outcome.value
      this.#error = undefined
      this.#tell({ kind: 'fetched', askedAt: this.#askedAt, expiresIn, refreshAfter: outcome.refreshAfter })
      return
    }
    const expired = outcome instanceof IssuedToken
    const error = expired
      ? new SourceError('the access token had expired when it arrived', { cause: 'expired_on_arrival' })
      : outcome
    this.#error = error
    this.#tell({ kind: 'failed', refused: !error.isTransient, expired, retryAfter: error.retryAfter })
    if (!this.#machine.held || !expired) {
      this.log('warn', `no access token for ${this.request}: ${error.message} (${error.reason})`)
    }
  }

  /** Ends the waits that have an outcome. */
  #settle(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const { rejected, waiter } of waiting) {
      const outcome = rejected > 0 ? this.#lookPast(rejected) : (this.#look() ?? 'pending')
      if (outcome === 'pending') this.#waiting.push({ rejected, waiter })
      else waiter(outcome)
    }
  }
}
