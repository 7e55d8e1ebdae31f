package example.m2m.internal;

import java.time.Duration;
import java.time.Instant;

/** The injected time and randomness: the only place that reads a clock, sets an alarm or draws a number. */
public interface Timeline {
  /** Returns the monotonic clock, in nanoseconds since an arbitrary origin. */
  long nanos();

  /** Returns the wall clock. */
  Instant wall();

  /** Returns a random number, uniform in {@code 0.0..1.0}. It spreads load, and is no secret. */
  double draw();

  /**
   * Runs {@code task} once the monotonic clock has reached {@code nanos}.
   *
   * @return cancels the task
   */
  Runnable at(long nanos, Runnable task);

  /** Reads both clocks. */
  default Moment now() {
    return new Moment(nanos(), wall());
  }

  /** Runs {@code task} after {@code pause}. */
  default Runnable after(Duration pause, Runnable task) {
    return at(nanos() + pause.toNanos(), task);
  }
}
