package example.m2m.server;

/** A per-second bound on log lines that attackers can cause. */
final class Throttle {
  /** Enough to see a fault, too few to fill a disk overnight. */
  private static final int LINES_PER_SECOND = 10;

  private long second;
  private int lines;
  private long leftOut;

  /**
   * Returns the number of lines left out before this one, or a negative number if this one is left out too.
   */
  synchronized long admit(long now) {
    if (now != second) {
      second = now;
      lines = 0;
    }
    if (lines >= LINES_PER_SECOND) {
      leftOut++;
      return -1;
    }
    lines++;
    long before = leftOut;
    leftOut = 0;
    return before;
  }
}
