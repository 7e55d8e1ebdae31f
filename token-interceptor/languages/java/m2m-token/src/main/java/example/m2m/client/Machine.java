package example.m2m.client;

import example.m2m.internal.Moment;
import java.time.Duration;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.stream.LongStream;

/**
 * The state machine that renews one token.
 *
 * <p>It is pure and synchronous: it takes the time, an event and a random draw, and returns the next action.
 * It knows times only, never the token. It watches two clocks, and a time has come when either has reached
 * it.
 */
final class Machine {
  /** The time for which calls wait while the source returns expired tokens, in nanoseconds. */
  private static final long EXPIRED_PATIENCE = Duration.ofSeconds(5).toNanos();
  private static final long EXPIRED_PAUSE_MAX = Duration.ofSeconds(1).toNanos();

  /** True to renew the token always; false to renew it only while calls use it. */
  private final boolean always;

  private final Pace pace = new Pace();
  private long generation;
  private Optional<Held> held = Optional.empty();
  private OptionalLong inFlight = OptionalLong.empty();
  private Optional<Trouble> trouble = Optional.empty();
  private long rejected;
  private boolean wanted;
  private boolean used;

  Machine(boolean always) {
    this.always = always;
  }

  /** An event. */
  sealed interface Event {
    /** The time of the alarm has come. */
    record Woke() implements Event {}

    /** A call finds no usable token, or sees that renewal is due. */
    record Wanted() implements Event {}

    /** A server refused the token of this generation. */
    record Rejected(long generation) implements Event {}

    /** The source returned a token. The lifetime counts from the request, so it is never too long. */
    record Fetched(Moment askedAt, Duration expiresIn, Optional<Duration> refreshAfter) implements Event {}

    /** The source failed. */
    record Failed(boolean refused, boolean expired, Optional<Duration> retryAfter) implements Event {}
  }

  /**
   * The next action.
   *
   * @param fetch true to request a token now
   * @param wake the monotonic time at which to report {@link Event.Woke}
   */
  record Next(boolean fetch, OptionalLong wake) {}

  /** The current token. */
  record Held(long generation, Moment renewAt, Moment expiresAt, boolean rejected) {}

  private static final class Trouble {
    private final boolean refused;
    private final int failures;
    private final long retryAt;
    private final OptionalLong expiredSince;
    /** True if calls wait for a new answer and do not get this one. */
    private boolean forgotten;

    Trouble(boolean refused, int failures, long retryAt, OptionalLong expiredSince, boolean forgotten) {
      this.refused = refused;
      this.failures = failures;
      this.retryAt = retryAt;
      this.expiredSince = expiredSince;
      this.forgotten = forgotten;
    }
  }

  /** Returns the current token, while it is valid. */
  Optional<Held> held() {
    return held;
  }

  /**
   * Returns the time until which a call without a token fails with the last failure. None: the call waits.
   */
  OptionalLong blamedUntil() {
    return trouble.filter(last -> !last.forgotten).map(last -> OptionalLong.of(last.retryAt)).orElse(OptionalLong.empty());
  }

  boolean isInFlight() {
    return inFlight.isPresent();
  }

  /** Records that a call used the token since the last event. */
  void markUsed() {
    used = true;
  }

  /** Handles an event. {@code draw} is uniform in {@code 0.0..1.0}. */
  Next handle(Event event, Moment now, double draw) {
    if (event instanceof Event.Wanted) {
      wanted |= held.map(token -> now.hasReached(token.renewAt)).orElse(true);
    } else if (event instanceof Event.Rejected refusedToken) {
      reject(refusedToken.generation);
    } else if (event instanceof Event.Fetched fetched) {
      accept(fetched, draw);
    } else if (event instanceof Event.Failed failed) {
      fail(failed, now, draw);
    }
    passTime(now);
    boolean fetch = inFlight.isEmpty() && wanted && now.nanos() - blockedUntil(now) >= 0;
    if (fetch) {
      begin(now);
    }
    return new Next(fetch, wake(now));
  }

  private void reject(long which) {
    if (which <= rejected) {
      return;
    }
    rejected = which;
    if (held.isPresent() && held.get().generation == which) {
      Held token = held.get();
      held = Optional.of(new Held(token.generation, token.renewAt, token.expiresAt, true));
      wanted = true;
    }
  }

  private void accept(Event.Fetched fetched, double draw) {
    generation++;
    Moment asked = fetched.askedAt;
    held =
        Optional.of(
            new Held(generation, asked.plus(renewAfter(fetched, draw)), asked.plus(fetched.expiresIn), false));
    inFlight = OptionalLong.empty();
    trouble = Optional.empty();
    wanted = false;
    used = false;
  }

  private void fail(Event.Failed failed, Moment now, double draw) {
    long began = inFlight.orElse(now.nanos());
    inFlight = OptionalLong.empty();
    Optional<Trouble> before = trouble.filter(last -> last.refused == failed.refused);
    int failures = Math.min(before.map(last -> last.failures).orElse(0), 1000) + 1;
    OptionalLong expiredSince = OptionalLong.empty();
    if (failed.expired) {
      long since = before.map(last -> last.expiredSince.orElse(now.nanos())).orElse(now.nanos());
      expiredSince = OptionalLong.of(since);
    }
    boolean patient = expiredSince.isPresent() && now.nanos() - expiredSince.getAsLong() < EXPIRED_PATIENCE;
    long pause;
    if (failed.refused) {
      pause = Backoff.afterRefusal(failures, draw);
    } else {
      // Counted from the start of the attempt: one that hung has already waited.
      long full = Backoff.afterOutage(failures, draw);
      full = patient ? Math.min(full, EXPIRED_PAUSE_MAX) : full;
      pause = Math.max(began + full - now.nanos(), Backoff.PAUSE_MIN);
    }
    if (failed.retryAfter.isPresent()) {
      pause = Math.max(pause, Backoff.askedFor(failed.retryAfter.get(), draw));
    }
    trouble = Optional.of(new Trouble(failed.refused, failures, now.nanos() + pause, expiredSince, patient));
    // After a refusal, the next request waits until a call needs a token.
    wanted &= !failed.refused;
  }

  /** Applies the changes that time alone causes. */
  private void passTime(Moment now) {
    if (held.isPresent() && now.hasReached(held.get().expiresAt)) {
      // Only the wall clock has reached it: the machine was suspended, and earlier outages no longer matter.
      if (now.nanos() - held.get().expiresAt.nanos() < 0) {
        trouble = trouble.filter(last -> last.refused);
      }
      held = Optional.empty();
    }
    trouble.filter(last -> last.refused).ifPresent(last -> last.forgotten |= now.nanos() - last.retryAt >= 0);
    boolean due = held.map(token -> now.hasReached(token.renewAt)).orElse(false);
    boolean refused = trouble.map(last -> last.refused).orElse(false);
    wanted |= due && !refused && (used || always);
  }

  private long blockedUntil(Moment now) {
    long until = trouble.map(last -> last.retryAt).orElse(now.nanos());
    // A token that is due is renewed, rejected or not.
    boolean paced = held.map(token -> token.rejected && !now.hasReached(token.renewAt)).orElse(false);
    if (!paced) {
      return until;
    }
    long allowed = pace.allowedAt(now.nanos());
    return allowed - until > 0 ? allowed : until;
  }

  private void begin(Moment now) {
    if (held.map(Held::rejected).orElse(false)) {
      pace.begin(now.nanos());
    }
    inFlight = OptionalLong.of(now.nanos());
  }

  private OptionalLong wake(Moment now) {
    var times = LongStream.builder();
    held.ifPresent(token -> times.add(token.expiresAt.nanos() - now.nanos()));
    if (inFlight.isEmpty()) {
      held.filter(token -> !now.hasReached(token.renewAt))
          .ifPresent(token -> times.add(token.renewAt.nanos() - now.nanos()));
      if (wanted) {
        times.add(blockedUntil(now) - now.nanos());
      }
    }
    trouble.filter(last -> last.refused && !last.forgotten)
        .ifPresent(last -> times.add(last.retryAt - now.nanos()));
    OptionalLong next = times.build().min();
    return next.isPresent() ? OptionalLong.of(now.nanos() + next.getAsLong()) : next;
  }

  /**
   * Returns the time of renewal, counted from the request. It is the server's, if that is plausible.
   * Otherwise it is between 65 and 80 % of the lifetime: early enough to survive an outage, late enough not
   * to double the load.
   */
  private static Duration renewAfter(Event.Fetched fetched, double draw) {
    Duration lifetime =
        fetched.expiresIn.compareTo(Moment.STEP_MAX) > 0 ? Moment.STEP_MAX : fetched.expiresIn;
    Duration after =
        fetched.refreshAfter
            .filter(asked -> !asked.isZero() && !asked.isNegative() && asked.compareTo(lifetime) < 0)
            .orElse(Duration.ofNanos((long) (lifetime.toNanos() * (0.65 + 0.15 * draw))));
    Duration least = lifetime.dividedBy(2);
    least = least.compareTo(Duration.ofSeconds(1)) > 0 ? Duration.ofSeconds(1) : least;
    return after.compareTo(least) < 0 ? least : after;
  }
}
