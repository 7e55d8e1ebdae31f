/**
 * The state machine that renews one token.
 *
 * It is pure and synchronous: it takes the time, an event and a random draw, and returns the next action.
 * It knows times only, never the token. Times are milliseconds.
 *
 * It watches two clocks, and a time has come when either has reached it. Monotonic time stands still while
 * a machine is suspended, and the wall clock may be set back.
 */

/** The longest use of a token, even if its issuer states a longer lifetime. */
export const LIFETIME_MAX = 365 * 24 * 60 * 60 * 1_000
/** The time for which calls wait while the source returns expired tokens, and the longest pause meanwhile. */
const EXPIRED_PATIENCE = 5_000
const EXPIRED_PAUSE_MAX = 1_000
/** The shortest pause, for any draw: a source that fails at once is not asked in a busy loop. */
const PAUSE_MIN = 50
const TRANSIENT_FIRST = 100
const TRANSIENT_MAX = 30_000
const REFUSED_FIRST = 1_000
const REFUSED_MAX = 60_000
/** The longest pause that a server may demand, and the longest random addition to it. */
const RETRY_AFTER_MAX = 300_000
const RETRY_AFTER_SPREAD_MAX = 1_000
/** A rejected token is replaced at once, then after 1 s, 2 s, up to 60 s. */
const APART_FIRST = 1_000
const APART_MAX = 60_000

/** One reading of both clocks. */
export interface Now {
  readonly monotonic: number
  readonly wall: number
}

/** Returns a later time. Times from other parties are bounded. */
export function plus({ monotonic, wall }: Now, duration: number): Now {
  const bounded = Math.min(duration, LIFETIME_MAX)
  return { monotonic: exact(monotonic + bounded), wall: wall + bounded }
}

/** Returns true if either clock says so. */
export function hasReached(now: Now, moment: Now): boolean {
  return now.monotonic >= moment.monotonic || now.wall >= moment.wall
}

/** An event. */
export type Event =
  /** The time of `Next.wake` has come. */
  | { kind: 'woke' }
  /** A call finds no usable token, or sees that renewal is due. */
  | { kind: 'wanted' }
  /** A server refused the token of this generation. */
  | { kind: 'rejected'; generation: number }
  /** The source returned a token. The lifetime counts from the request, so it is never too long. */
  | { kind: 'fetched'; askedAt: Now; expiresIn: number; refreshAfter: number | undefined }
  /** The source failed. `expired`: it returned a token that had expired on arrival. */
  | { kind: 'failed'; refused: boolean; expired: boolean; retryAfter: number | undefined }

/** The next action. */
export interface Next {
  /** True to request a token now. Only while no request is in flight. */
  fetch: boolean
  /** Report `woke` at this monotonic time, unless something else happens first. */
  wake: number | undefined
}

/** The current token. */
export interface Holding {
  readonly generation: number
  readonly renewAt: Now
  readonly expiresAt: Now
  rejected: boolean
}

interface Trouble {
  readonly refused: boolean
  readonly failures: number
  readonly retryAt: number
  /** True if calls wait for a new answer and do not get this one. */
  forgotten: boolean
  /** The time since which the source returns expired tokens. */
  readonly expiredSince: number | undefined
}

/** The state machine; see the module. */
export class Machine {
  /** The generation of the newest token so far. */
  generation = 0
  held: Holding | undefined
  /** The newest generation whose rejection has been handled. */
  rejected = 0
  /** Set when a call used the token since it arrived. */
  used = false
  #inFlight: number | undefined
  #trouble: Trouble | undefined
  #lastReplacement: { at: number; apart: number } | undefined
  #wanted = false

  /** `whileUsed`: renew ahead of expiry only while calls use the token. */
  constructor(private readonly whileUsed = false) {}

  /** True if a request is in flight. */
  get inFlight(): boolean {
    return this.#inFlight !== undefined
  }

  /**
   * The time of the next request. Until its answer, a call without a token fails with the last failure.
   * Undefined: the call waits.
   */
  get blamedUntil(): number | undefined {
    return this.#trouble?.forgotten ? undefined : this.#trouble?.retryAt
  }

  /** Handles an event and returns the next action. `draw` is uniform in 0.0..1.0. */
  handle(event: Event, now: Now, draw: number): Next {
    switch (event.kind) {
      case 'woke':
        break
      case 'wanted':
        this.#wanted ||= !this.held || hasReached(now, this.held.renewAt)
        break
      case 'rejected':
        this.#reject(event.generation)
        break
      case 'fetched':
        this.#accept(event, draw)
        break
      case 'failed':
        this.#fail(event, now, draw)
        break
    }
    this.#passTime(now)
    const fetch = !this.inFlight && this.#wanted && now.monotonic >= this.#blockedUntil(now)
    if (fetch) this.#begin(now)
    return { fetch, wake: this.#wake(now) }
  }

  #reject(generation: number): void {
    if (generation <= this.rejected) return
    this.rejected = generation
    if (this.held?.generation === generation) {
      this.held.rejected = true
      this.#wanted = true
    }
  }

  #accept(fetched: Event & { kind: 'fetched' }, draw: number): void {
    this.held = {
      generation: ++this.generation,
      renewAt: plus(fetched.askedAt, renewAfter(fetched, draw)),
      expiresAt: plus(fetched.askedAt, fetched.expiresIn),
      rejected: false,
    }
    this.#inFlight = undefined
    this.#trouble = undefined
    this.#wanted = this.used = false
  }

  #fail({ refused, expired, retryAfter }: Event & { kind: 'failed' }, now: Now, draw: number): void {
    const began = this.#inFlight ?? now.monotonic
    this.#inFlight = undefined
    const before = this.#trouble?.refused === refused ? this.#trouble : undefined
    const failures = (before?.failures ?? 0) + 1
    const expiredSince = expired ? (before?.expiredSince ?? now.monotonic) : undefined
    const patient = expiredSince !== undefined && now.monotonic - expiredSince < EXPIRED_PATIENCE
    let retryAt: number
    if (refused) retryAt = exact(now.monotonic + refusedPause(failures, draw))
    else {
      // Counted from the start of the attempt: one that hung has already waited.
      const pause = Math.min(transientPause(failures, draw), patient ? EXPIRED_PAUSE_MAX : Number.POSITIVE_INFINITY)
      retryAt = Math.max(exact(began + pause), exact(now.monotonic + PAUSE_MIN))
    }
    if (retryAfter !== undefined) retryAt = Math.max(retryAt, exact(now.monotonic + askedFor(retryAfter, draw)))
    this.#trouble = { refused, failures, retryAt, forgotten: patient, expiredSince }
    // After a refusal, the next request waits until a call needs a token.
    this.#wanted &&= !refused
  }

  /** Applies the changes that time alone causes. */
  #passTime(now: Now): void {
    const { held } = this
    if (held && hasReached(now, held.expiresAt)) {
      this.held = undefined
      // Only the wall clock has reached it: the machine was suspended. Earlier failures no longer matter.
      if (now.monotonic < held.expiresAt.monotonic && !this.#trouble?.refused) this.#trouble = undefined
    }
    const trouble = this.#trouble
    if (trouble?.refused) trouble.forgotten ||= now.monotonic >= trouble.retryAt
    const due = this.held !== undefined && hasReached(now, this.held.renewAt)
    this.#wanted ||= due && !trouble?.refused && (this.used || !this.whileUsed)
  }

  #blockedUntil(now: Now): number {
    const blocked = this.#trouble?.retryAt ?? now.monotonic
    // A token that is due is renewed, rejected or not.
    const paced = this.held?.rejected && !hasReached(now, this.held.renewAt)
    if (!paced || !this.#lastReplacement) return blocked
    return Math.max(blocked, this.#lastReplacement.at + this.#lastReplacement.apart)
  }

  #begin(now: Now): void {
    if (this.held?.rejected) {
      const last = this.#lastReplacement
      // Quiet for twice the interval: that trouble is over.
      const troubled = last !== undefined && now.monotonic - last.at < last.apart * 2
      this.#lastReplacement = { at: now.monotonic, apart: troubled ? Math.min(last.apart * 2, APART_MAX) : APART_FIRST }
    }
    this.#inFlight = now.monotonic
  }

  #wake(now: Now): number | undefined {
    const times: number[] = []
    if (this.held) {
      times.push(this.held.expiresAt.monotonic)
      if (!this.inFlight && !hasReached(now, this.held.renewAt)) times.push(this.held.renewAt.monotonic)
    }
    if (!this.inFlight && this.#wanted) times.push(this.#blockedUntil(now))
    if (this.#trouble?.refused && !this.#trouble.forgotten) times.push(this.#trouble.retryAt)
    return times.length > 0 ? Math.min(...times) : undefined
  }
}

/**
 * Returns the time of renewal, counted from the request. It is the server's, if that is plausible.
 * Otherwise it is between 65 and 80 % of the lifetime: early enough to survive an outage, late enough not
 * to double the load.
 */
function renewAfter({ expiresIn, refreshAfter }: Event & { kind: 'fetched' }, draw: number): number {
  const lifetime = Math.min(expiresIn, LIFETIME_MAX)
  const plausible = refreshAfter !== undefined && refreshAfter > 0 && refreshAfter < lifetime
  const after = plausible ? refreshAfter : exact(lifetime * (0.65 + 0.15 * draw))
  return Math.max(after, Math.min(1_000, lifetime / 2))
}

function transientPause(failures: number, draw: number): number {
  return Math.max(exact(doubled(TRANSIENT_FIRST, failures, TRANSIENT_MAX) * draw), PAUSE_MIN)
}

function refusedPause(failures: number, draw: number): number {
  return Math.min(exact(doubled(REFUSED_FIRST, failures, REFUSED_MAX) * (1 + draw / 4)), REFUSED_MAX)
}

function askedFor(retryAfter: number, draw: number): number {
  const pause = Math.min(retryAfter, RETRY_AFTER_MAX)
  return pause + exact(Math.min(pause / 10, RETRY_AFTER_SPREAD_MAX) * draw)
}

function doubled(first: number, failures: number, max: number): number {
  return Math.min(first * 2 ** Math.min(Math.max(failures - 1, 0), 16), max)
}

/** Rounds to whole nanoseconds, so that sums of equal times are equal. */
export function exact(ms: number): number {
  return Math.round(ms * 1e6) / 1e6
}
