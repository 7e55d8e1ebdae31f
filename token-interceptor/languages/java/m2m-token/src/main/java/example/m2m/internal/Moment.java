package example.m2m.internal;

import java.time.Duration;
import java.time.Instant;

/**
 * One reading of both clocks.
 *
 * @param nanos the monotonic clock, which stands still while the machine is suspended
 * @param wall the wall clock, which can be set
 */
public record Moment(long nanos, Instant wall) {
  /** The longest step: times from other parties are bounded, so that no clock overflows. */
  public static final Duration STEP_MAX = Duration.ofDays(365);

  /** Returns the moment that is {@code duration} later, a year at most. */
  public Moment plus(Duration duration) {
    Duration step = duration.compareTo(STEP_MAX) > 0 ? STEP_MAX : duration;
    return new Moment(nanos + step.toNanos(), wall.plus(step));
  }

  /** Returns true if either clock has reached {@code other}. */
  public boolean hasReached(Moment other) {
    return nanos - other.nanos >= 0 || !wall.isBefore(other.wall);
  }
}
