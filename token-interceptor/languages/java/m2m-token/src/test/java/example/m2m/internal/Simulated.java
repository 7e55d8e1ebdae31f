package example.m2m.internal;

import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;

/** Clocks that move only when a test moves them. */
public final class Simulated implements Timeline {
  private final List<Alarm> alarms = new ArrayList<>();
  private Instant wall;
  private long nanos;

  private record Alarm(long at, Runnable task) {}

  public Simulated(Instant wall) {
    this.wall = wall;
  }

  /** Moves both clocks, and runs the alarms on the way. */
  public void pass(Duration duration) {
    long end = nanos + duration.toNanos();
    for (Alarm next = next(end); next != null; next = next(end)) {
      wall = wall.plusNanos(next.at - nanos);
      nanos = next.at;
      next.task.run();
    }
    wall = wall.plusNanos(end - nanos);
    nanos = end;
  }

  private synchronized Alarm next(long end) {
    Alarm first = null;
    for (Alarm alarm : alarms) {
      first = alarm.at <= end && (first == null || alarm.at < first.at) ? alarm : first;
    }
    alarms.remove(first);
    return first == null ? null : new Alarm(Math.max(first.at, nanos), first.task);
  }

  @Override
  public long nanos() {
    return nanos;
  }

  @Override
  public Instant wall() {
    return wall;
  }

  @Override
  public double draw() {
    return 0.5;
  }

  @Override
  public synchronized Runnable at(long when, Runnable task) {
    var alarm = new Alarm(when, task);
    alarms.add(alarm);
    return () -> {
      synchronized (this) {
        alarms.remove(alarm);
      }
    };
  }
}
