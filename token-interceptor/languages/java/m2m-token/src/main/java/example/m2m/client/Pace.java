package example.m2m.client;

import java.time.Duration;

/**
 * The pace at which a rejected token may be replaced: at once, then after 1 s, then 2 s, up to 60 s. A server
 * that refuses every token, by mistake or by malice, must not make its callers flood the issuer.
 */
final class Pace {
  private static final long APART_FIRST = Duration.ofSeconds(1).toNanos();
  private static final long APART_MAX = Duration.ofSeconds(60).toNanos();

  private boolean begun;
  private long last;
  private long apart;

  /** Returns the time at which a rejected token may next be replaced. */
  long allowedAt(long now) {
    return begun ? last + apart : now;
  }

  /** Records that a replacement is requested. */
  void begin(long now) {
    // Quiet for twice the interval: that trouble is over.
    apart = begun && now - last < 2 * apart ? Math.min(2 * apart, APART_MAX) : APART_FIRST;
    last = now;
    begun = true;
  }
}
