package example.m2m.client;

import java.time.Duration;

/** The pause after a failure: a pure function of the number of failures and one random draw. */
final class Backoff {
  /** The shortest pause, for any draw: a source that fails at once is not asked in a busy loop. */
  static final long PAUSE_MIN = Duration.ofMillis(50).toNanos();

  private static final long TRANSIENT_FIRST = Duration.ofMillis(100).toNanos();
  private static final long TRANSIENT_MAX = Duration.ofSeconds(30).toNanos();
  private static final long REFUSED_FIRST = Duration.ofSeconds(1).toNanos();
  private static final long REFUSED_MAX = Duration.ofSeconds(60).toNanos();
  /** The longest pause that a server may demand. It may be a mistake. */
  private static final long ASKED_FOR_MAX = Duration.ofSeconds(300).toNanos();
  private static final long ASKED_FOR_SPREAD_MAX = Duration.ofSeconds(1).toNanos();

  private Backoff() {}

  /** Returns the pause after the transient failure of this number in a row: full jitter, in nanoseconds. */
  static long afterOutage(int failures, double draw) {
    return Math.max(PAUSE_MIN, (long) (doubled(TRANSIENT_FIRST, failures, TRANSIENT_MAX) * draw));
  }

  /** Returns the time for which the refusal of this number in a row is cached, in nanoseconds. */
  static long afterRefusal(int failures, double draw) {
    return Math.min(REFUSED_MAX, (long) (doubled(REFUSED_FIRST, failures, REFUSED_MAX) * (1 + draw / 4)));
  }

  /** Returns the pause that the server demands, bounded, in nanoseconds. */
  static long askedFor(Duration retryAfter, double draw) {
    boolean tooLong = retryAfter.compareTo(Duration.ofNanos(ASKED_FOR_MAX)) > 0;
    long pause = tooLong ? ASKED_FOR_MAX : Math.max(0, retryAfter.toNanos());
    return pause + (long) (Math.min(pause / 10, ASKED_FOR_SPREAD_MAX) * draw);
  }

  private static long doubled(long first, int failures, long max) {
    return Math.min(max, first << Math.min(Math.max(failures, 1) - 1, 16));
  }
}
