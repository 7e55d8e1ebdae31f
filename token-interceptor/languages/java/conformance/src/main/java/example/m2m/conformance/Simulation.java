package example.m2m.conformance;

import example.m2m.internal.Timeline;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.PriorityQueue;

/** Simulated time. Alarms run in order when the simulation reaches them. The wall clock may jump. */
final class Simulation implements Timeline {
  private final Instant start;
  private final double draw;
  private final PriorityQueue<Alarm> alarms = new PriorityQueue<>();
  private final List<Jump> jumps = new ArrayList<>();
  private long nanos;
  private long number;

  private record Jump(long at, Duration by) {}

  private record Alarm(long at, long number, Runnable task) implements Comparable<Alarm> {
    @Override
    public int compareTo(Alarm other) {
      return at == other.at ? Long.compare(number, other.number) : Long.compare(at, other.at);
    }
  }

  Simulation(Instant start, double draw) {
    this.start = start;
    this.draw = draw;
  }

  void jump(Duration at, Duration by) {
    jumps.add(new Jump(at.toNanos(), by));
  }

  /** Runs every alarm up to and including {@code end}. */
  void runUntil(Duration end) {
    while (!alarms.isEmpty() && alarms.peek().at <= end.toNanos()) {
      Alarm next = alarms.poll();
      nanos = Math.max(nanos, next.at);
      next.task.run();
    }
    nanos = end.toNanos();
  }

  @Override
  public long nanos() {
    return nanos;
  }

  @Override
  public Instant wall() {
    Instant wall = start.plusNanos(nanos);
    for (Jump jump : jumps) {
      wall = jump.at <= nanos ? wall.plus(jump.by) : wall;
    }
    return wall;
  }

  @Override
  public double draw() {
    return draw;
  }

  @Override
  public Runnable at(long when, Runnable task) {
    var alarm = new Alarm(when, number++, task);
    alarms.add(alarm);
    return () -> alarms.remove(alarm);
  }
}
