package example.m2m.internal;

import java.time.Instant;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/** The machine's clocks. One daemon thread runs the alarms of all layers of the process. */
public final class SystemTimeline implements Timeline {
  /** The only instance. */
  public static final SystemTimeline INSTANCE = new SystemTimeline();

  private final ScheduledThreadPoolExecutor alarms;

  private SystemTimeline() {
    alarms =
        new ScheduledThreadPoolExecutor(
            1,
            task -> {
              var thread = new Thread(task, "m2m-token");
              thread.setDaemon(true);
              return thread;
            });
    alarms.setRemoveOnCancelPolicy(true);
  }

  @Override
  public long nanos() {
    return System.nanoTime();
  }

  @Override
  public Instant wall() {
    return Instant.now();
  }

  @Override
  public double draw() {
    return ThreadLocalRandom.current().nextDouble();
  }

  @Override
  public Runnable at(long nanos, Runnable task) {
    long delay = Math.max(0, nanos - System.nanoTime());
    var alarm = alarms.schedule(task, delay, TimeUnit.NANOSECONDS);
    return () -> alarm.cancel(false);
  }
}
