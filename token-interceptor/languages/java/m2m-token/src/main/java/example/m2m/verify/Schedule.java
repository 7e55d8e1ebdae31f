package example.m2m.verify;

import java.time.Duration;
import java.util.Optional;

/**
 * The schedule of key set fetches: pure functions of past events and the monotonic time.
 *
 * <ul>
 *   <li>A set is fetched again once it is as old as {@code maxAge}.
 *   <li>After a failure it is retried: quickly while there is no set at all, else no sooner than {@code
 *       cooldown}.
 *   <li>An unknown key causes a fetch at once, but no sooner than {@code cooldown} after the last such fetch.
 *       So a flood of invented key IDs costs one fetch per {@code cooldown}, and the first token of a new key
 *       finds it.
 * </ul>
 */
final class Schedule {
  private static final long FIRST_PAUSE = Duration.ofMillis(500).toNanos();
  /** The longest pause while there is no set: every call is rejected meanwhile. */
  private static final long EMPTY_PAUSE_MAX = Duration.ofSeconds(5).toNanos();
  /** The longest pause while an old set is used. */
  private static final long STALE_PAUSE_MAX = Duration.ofSeconds(60).toNanos();

  private final long maxAge;
  private final long cooldown;
  private long due;
  private Optional<Long> quietUntil = Optional.empty();
  private boolean inFlight;
  private boolean forUnknownKey;
  private boolean wanted;
  private int failures;
  private boolean holdsASet;

  Schedule(Duration maxAge, Duration cooldown, long now) {
    this.maxAge = maxAge.toNanos();
    this.cooldown = cooldown.toNanos();
    this.due = now;
  }

  /** The verdict on a token whose key is not in the set. */
  sealed interface UnknownKey {
    /** A fetch is in flight or begins now. */
    record Wait() implements UnknownKey {}

    /** The set was fetched just now, and there is no such key. */
    record Refuse() implements UnknownKey {}

    /** The last fetch failed just now, so the key may exist. */
    record Unavailable(Duration retryAfter) implements UnknownKey {}
  }

  /** Returns the time to call {@link #begin}. It may be in the past. */
  long next(long now) {
    return wanted ? now : due;
  }

  boolean inFlight() {
    return inFlight;
  }

  void begin() {
    inFlight = true;
    forUnknownKey = wanted;
    wanted = false;
  }

  void succeeded(long now) {
    if (forUnknownKey) {
      quietUntil = Optional.of(now + cooldown);
    }
    inFlight = false;
    failures = 0;
    holdsASet = true;
    due = now + maxAge;
  }

  /** Records a failure. {@code draw} spreads the retries of many verifiers. */
  void failed(long now, double draw) {
    inFlight = false;
    long doubled = FIRST_PAUSE << Math.min(failures, 16);
    failures++;
    long pause =
        holdsASet ? Math.max(cooldown, Math.min(STALE_PAUSE_MAX, doubled)) : Math.min(EMPTY_PAUSE_MAX, doubled);
    quietUntil = Optional.of(now + cooldown);
    due = now + pause + (long) (Math.min(pause, STALE_PAUSE_MAX) * draw / 4);
  }

  UnknownKey unknownKey(long now) {
    if (inFlight || wanted || due - now <= 0) {
      return new UnknownKey.Wait();
    }
    long quiet = quietUntil.map(until -> until - now).orElse(0L);
    if (quiet > 0) {
      return failures == 0
          ? new UnknownKey.Refuse()
          : new UnknownKey.Unavailable(Duration.ofNanos(Math.min(quiet, due - now)));
    }
    wanted = true;
    return new UnknownKey.Wait();
  }
}
