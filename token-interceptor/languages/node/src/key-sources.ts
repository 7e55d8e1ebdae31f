/**
 * The source of an issuer's current keys: fixed, fetched, or pushed.
 *
 * A verifier reads the cached set and does not wait. The exception is a token whose key is not cached: all
 * calls with such a token wait for one fetch together. A failed fetch leaves the cached set as it is.
 */

import { Denied } from './errors.js'
import type { Algorithm, KeySet, VerifyingKey } from './keys.js'
import { type Log, silent } from './log.js'
import type { Revocations } from './revocations.js'

/** The longest wait of a call for its key, in milliseconds. Then the call reads UNAVAILABLE. */
const WAIT_MAX = 2_000
/** The retry delay that a caller gets when the wait was too long, in milliseconds. */
const RETRY_AFTER_WAIT = 1_000
/** The default age at which a key set is fetched again, in milliseconds. */
export const MAX_AGE = 300_000
/** The default minimum interval between two fetches for unknown keys, in milliseconds. */
export const COOLDOWN = 5_000
/** The first pause after a failure while there is no set, and the longest ones, in milliseconds. */
const FIRST_PAUSE = 500
const EMPTY_PAUSE_MAX = 5_000
const STALE_PAUSE_MAX = 60_000
/** The calls that may wait for one issuer's keys, so that a flood does not fill the memory. */
const WAITING_MAX = 1_024

/** The current keys and revocations of one issuer. */
export interface KeySource {
  /** Changes whenever a key may have been withdrawn. */
  readonly version: number
  /** The number of key events so far. */
  readonly news: number
  /** The revocations that the issuer pushes. */
  readonly revocations: Revocations | undefined
  /** Returns the keys that may have signed a token; see `KeySet.candidates`. */
  candidates(keyId: string | undefined, algorithm: Algorithm): VerifyingKey[] | undefined
  /** Returns true if the issuer still publishes the key. */
  holds(key: VerifyingKey): boolean
  /**
   * Waits briefly for a key event after the first `news`. Returns false if the issuer has no such key.
   * Rejects with Denied if that cannot be known at the moment, and instead of waiting if `wait` is false.
   */
  unknownKey(news: number, wait: boolean): Promise<boolean>
  /** Returns true if the state is too old to rely on. */
  isStale(): boolean
  /** Ends the background work. */
  close(): void
}

/** Keys that do not change. */
export class FixedKeys implements KeySource {
  readonly version = 0
  readonly news = 0

  constructor(
    private readonly keys: KeySet,
    readonly revocations: Revocations | undefined = undefined,
  ) {}

  candidates(keyId: string | undefined, algorithm: Algorithm): VerifyingKey[] | undefined {
    return this.keys.candidates(keyId, algorithm)
  }

  holds(key: VerifyingKey): boolean {
    return this.keys.holds(key)
  }

  async unknownKey(): Promise<boolean> {
    return false
  }

  isStale(): boolean {
    return false
  }

  close(): void {}
}

/** The current set, its version, and the calls that wait for a newer one. */
export class Held {
  keys: KeySet | undefined
  version = 0
  news = 0
  readonly #waiting = new Set<() => void>()

  /** Replaces the set. */
  hold(keys: KeySet): void {
    if (this.keys?.isSame(keys)) return
    this.keys = keys
    this.version++
  }

  /** Wakes the waiting calls. */
  tell(): void {
    this.news++
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const wake of waiting) wake()
  }

  /** Waits for an event after the first `news`. Rejects with Denied when there is none soon. */
  wait(news: number): Promise<void> {
    if (this.news > news) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const late = () => new Denied('key_unavailable', '', { retryAfter: RETRY_AFTER_WAIT })
      if (this.#waiting.size >= WAITING_MAX) return reject(late())
      const wake = () => {
        clearTimeout(timer)
        resolve()
      }
      const timer = setTimeout(() => {
        this.#waiting.delete(wake)
        reject(late())
      }, WAIT_MAX)
      this.#waiting.add(wake)
    })
  }
}

/**
 * The schedule of fetches: pure functions of past events and the monotonic time in milliseconds.
 *
 * A set is fetched again once it is as old as `maxAge`. After a failure it is retried: quickly while there
 * is no set at all, else no sooner than `cooldown`. An unknown key causes a fetch at once, but no sooner
 * than `cooldown` after the last such fetch ended.
 */
export class Schedule {
  #due: number
  #quietUntil: number
  #inFlight = false
  #forUnknownKey = false
  #wanted = false
  #failures = 0
  #holdsASet = false

  constructor(
    private readonly maxAge: number,
    private readonly cooldown: number,
    now: number,
  ) {
    this.#due = this.#quietUntil = now
  }

  /** Returns the time to call `begin`. It may be in the past. */
  next(now: number): number {
    return this.#wanted ? now : this.#due
  }

  /** Records that a fetch begins. */
  begin(): void {
    this.#inFlight = true
    this.#forUnknownKey = this.#wanted
    this.#wanted = false
  }

  /** Records that the fetch brought a set. */
  succeeded(now: number): void {
    if (this.#forUnknownKey) this.#quietUntil = now + this.cooldown
    this.#inFlight = false
    this.#failures = 0
    this.#holdsASet = true
    this.#due = now + this.maxAge
  }

  /** Records that the fetch failed. `jitter` is random, 0 to 1. */
  failed(now: number, jitter: number): void {
    this.#inFlight = false
    const doubled = FIRST_PAUSE * 2 ** Math.min(this.#failures, 16)
    this.#failures++
    const pause = this.#holdsASet
      ? Math.max(Math.min(doubled, STALE_PAUSE_MAX), this.cooldown)
      : Math.min(doubled, EMPTY_PAUSE_MAX)
    this.#quietUntil = now + this.cooldown
    this.#due = now + pause + (Math.min(pause, STALE_PAUSE_MAX) * jitter) / 4
  }

  /** Returns true to wait for a fetch, and false if the set was fetched just now. Throws Denied. */
  unknownKey(now: number): boolean {
    if (this.#inFlight || this.#wanted || this.#due <= now) return true
    const quiet = this.#quietUntil - now
    if (quiet <= 0) {
      this.#wanted = true
      return true
    }
    if (this.#failures === 0) return false
    throw new Denied('key_unavailable', '', { retryAfter: Math.max(Math.min(quiet, this.#due - now), 0) })
  }
}

/** The settings of a fetched key set. Times are milliseconds. */
export interface Freshness {
  /** The age at which a key set is fetched again. Default: 5 minutes. */
  maxAge?: number
  /** The minimum interval between two fetches for unknown keys. Default: 5 seconds. */
  cooldown?: number
  /**
   * The time after which an unreachable issuer's keys are no longer used. Default: they are used through an
   * outage of any length.
   */
  staleAfter?: number
}

/** A key set that is fetched, cached, and fetched again: one fetch at a time. */
export class FetchedKeys implements KeySource {
  readonly #held = new Held()
  readonly #schedule: Schedule
  #fetchedAt: { monotonic: number; wall: number } | undefined
  #timer: NodeJS.Timeout | undefined
  #busy = false
  #closed = false

  constructor(
    private readonly issuer: string,
    private readonly fetch: () => Promise<KeySet>,
    private readonly settings: Freshness & {
      revocations?: Revocations
      clock?: () => number
      draw?: () => number
      log?: Log
    } = {},
  ) {
    const { maxAge = MAX_AGE, cooldown = COOLDOWN } = settings
    if (maxAge < 1_000 || cooldown < 1_000) throw new RangeError('maxAge and cooldown must be a second at least')
    this.#schedule = new Schedule(maxAge, cooldown, this.#now())
  }

  get revocations(): Revocations | undefined {
    return this.settings.revocations
  }

  get version(): number {
    return this.#held.version
  }

  get news(): number {
    return this.#held.news
  }

  candidates(keyId: string | undefined, algorithm: Algorithm): VerifyingKey[] | undefined {
    this.#keepFresh()
    return this.#held.keys?.candidates(keyId, algorithm)
  }

  holds(key: VerifyingKey): boolean {
    return this.#held.keys?.holds(key) ?? false
  }

  async unknownKey(news: number, wait: boolean): Promise<boolean> {
    if (!this.#schedule.unknownKey(this.#now())) return false
    this.#keepFresh()
    if (!wait) throw new Denied('key_unavailable', '', { retryAfter: RETRY_AFTER_WAIT })
    await this.#held.wait(news)
    return true
  }

  isStale(): boolean {
    this.#keepFresh()
    const { staleAfter } = this.settings
    if (staleAfter === undefined || !this.#fetchedAt) return false
    const { monotonic, wall } = this.#fetchedAt
    // One clock stands still while the machine is suspended; the other can be set.
    return Math.max(this.#now() - monotonic, Date.now() - wall) > staleAfter
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  #now(): number {
    return (this.settings.clock ?? (() => performance.now()))()
  }

  #keepFresh(): void {
    if (this.#busy || this.#closed || this.#schedule.next(this.#now()) > this.#now()) return
    this.#busy = true
    this.#schedule.begin()
    void this.#fetchOnce().finally(() => {
      this.#busy = false
      this.#held.tell()
      this.#rest()
    })
  }

  async #fetchOnce(): Promise<void> {
    try {
      const keys = (await this.fetch()).usable()
      this.#held.hold(keys)
      this.#fetchedAt = { monotonic: this.#now(), wall: Date.now() }
      this.#schedule.succeeded(this.#now())
    } catch (error) {
      this.#schedule.failed(this.#now(), (this.settings.draw ?? Math.random)())
      const reason = error instanceof Error ? error.message : 'unknown'
      ;(this.settings.log ?? silent)('warn', `the key set of ${this.issuer} could not be fetched: ${reason}`)
    }
  }

  /** A timer that keeps no program alive. */
  #rest(): void {
    clearTimeout(this.#timer)
    if (this.#closed || this.settings.clock) return
    const pause = Math.max(this.#schedule.next(this.#now()) - this.#now(), 0)
    this.#timer = setTimeout(() => this.#keepFresh(), Math.min(pause, 2 ** 31 - 1))
    this.#timer.unref()
  }
}
