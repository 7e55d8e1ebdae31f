package example.m2m.client;

import example.m2m.client.Machine.Event;
import example.m2m.internal.Moment;
import example.m2m.internal.Timeline;
import java.lang.System.Logger.Level;
import java.lang.ref.WeakReference;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * One access token, renewed in time: the shell around {@link Machine}.
 *
 * <p>A call never waits if there is a usable token. Renewal happens in the background, one request at a time.
 * A token that is no longer referred to is no longer renewed.
 */
final class FreshToken {
  private static final System.Logger LOG = System.getLogger(FreshToken.class.getName());
  /** The longest time of an attempt: a little more than a source takes by itself. */
  private static final Duration ATTEMPT_MAX = Duration.ofMillis(30_500);

  private final TokenSource source;
  private final TokenRequest request;
  private final Timeline timeline;
  private final Machine machine;

  private Moment askedAt;
  private SourceException failure;
  private AccessToken token;
  private Runnable alarm = () -> {};
  private final List<Waiter> waiters = new ArrayList<>();
  private volatile Ready current;
  private volatile boolean useIsKnown;

  /** A token in use. Its generation tells if a rejection of it is news. */
  record Ready(AccessToken token, long generation, Moment renewAt, Moment expiresAt) {}

  /** A call that waits for a token newer than {@code rejected}. */
  private record Waiter(long rejected, CompletableFuture<Ready> outcome) {}

  FreshToken(TokenSource source, TokenRequest request, Timeline timeline) {
    this.source = source;
    this.request = request;
    this.timeline = timeline;
    // A token with a maximum age, or of a caller, is renewed only while calls use it.
    this.machine = new Machine(request.maxAge().isEmpty() && request.subjectToken().isEmpty());
  }

  TokenRequest request() {
    return request;
  }

  /** The hot path: returns the current token while it is valid by both clocks. */
  Optional<Ready> ready() {
    Ready ready = current;
    if (ready == null) {
      return Optional.empty();
    }
    Moment now = timeline.now();
    if (now.hasReached(ready.expiresAt)) {
      return Optional.empty();
    }
    if (now.hasReached(ready.renewAt)) {
      tell(new Event.Wanted(), true);
    } else if (!useIsKnown) {
      useIsKnown = true;
      synchronized (this) {
        machine.markUsed();
      }
    }
    return Optional.of(ready);
  }

  /**
   * Returns a token, or the reason that there is none. Waits while there is none and the source has not
   * failed.
   */
  CompletableFuture<Ready> get() {
    Optional<Ready> ready = ready();
    return ready.isPresent() ? CompletableFuture.completedFuture(ready.get()) : await(0, new Event.Wanted());
  }

  /** Returns a token newer than the rejected one, if one is to arrive now; null if none is. */
  CompletableFuture<Ready> replacement(long rejected) {
    return await(rejected, new Event.Rejected(rejected));
  }

  /** Replaces the token in the background: a server refused this generation. */
  void reject(long generation) {
    tell(new Event.Rejected(generation), false);
  }

  private CompletableFuture<Ready> await(long rejected, Event event) {
    var outcome = new CompletableFuture<Ready>();
    synchronized (this) {
      waiters.add(new Waiter(rejected, outcome));
    }
    outcome.whenComplete(
        (ready, error) -> {
          synchronized (this) {
            waiters.removeIf(waiter -> waiter.outcome == outcome);
          }
        });
    tell(event, true);
    return outcome;
  }

  private void tell(Event event, boolean used) {
    tell(event, used, () -> {});
  }

  /** {@code change} happens at once with the event. */
  private void tell(Event event, boolean used, Runnable change) {
    boolean fetch;
    List<Runnable> settled;
    synchronized (this) {
      change.run();
      if (used) {
        machine.markUsed();
      }
      Moment now = timeline.now();
      Machine.Next next = machine.handle(event, now, timeline.draw());
      fetch = next.fetch();
      if (fetch) {
        askedAt = now;
      }
      setAlarm(next.wake());
      publish();
      settled = settle();
    }
    settled.forEach(Runnable::run);
    if (fetch) {
      fetch();
    }
  }

  private void setAlarm(OptionalLong wake) {
    alarm.run();
    alarm = () -> {};
    if (wake.isPresent()) {
      var self = new WeakReference<>(this);
      alarm =
          timeline.at(
              wake.getAsLong(),
              () -> {
                FreshToken alive = self.get();
                if (alive != null) {
                  alive.tell(new Event.Woke(), false);
                }
              });
    }
  }

  private void publish() {
    current =
        machine.held()
            .map(held -> new Ready(token, held.generation(), held.renewAt(), held.expiresAt()))
            .orElse(null);
  }

  /** Returns the completion of every call that need not wait any more. */
  private List<Runnable> settle() {
    var settled = new ArrayList<Runnable>();
    OptionalLong blamedUntil = machine.blamedUntil();
    boolean coming = machine.isInFlight() && blamedUntil.isEmpty();
    for (Waiter waiter : List.copyOf(waiters)) {
      CompletableFuture<Ready> outcome = waiter.outcome;
      Ready ready = current;
      if (ready != null && ready.generation > waiter.rejected) {
        machine.markUsed();
        settled.add(() -> outcome.complete(ready));
      } else if (waiter.rejected > 0) {
        if (!coming) {
          settled.add(() -> outcome.complete(null));
        }
      } else if (failure != null && blamedUntil.isPresent()) {
        Duration retryIn = Duration.ofNanos(Math.max(0, blamedUntil.getAsLong() - timeline.nanos()));
        NoToken error = NoToken.failed(failure, request, retryIn);
        settled.add(() -> outcome.completeExceptionally(error));
      }
    }
    return settled;
  }

  private void fetch() {
    var answered = new AtomicBoolean();
    Runnable timeout =
        timeline.after(
            ATTEMPT_MAX,
            () -> answered(answered, null, SourceException.unavailable("it takes too long", Cause.TIMED_OUT)));
    try {
      source
          .fetch(request)
          .whenComplete(
              (issued, error) -> {
                timeout.run();
                answered(answered, issued, error);
              });
    } catch (RuntimeException failed) {
      timeout.run();
      answered(answered, null, failed);
    }
  }

  private void answered(AtomicBoolean answered, IssuedToken issued, Throwable error) {
    if (!answered.compareAndSet(false, true)) {
      return;
    }
    Throwable cause = error instanceof CompletionException && error.getCause() != null ? error.getCause() : error;
    if (cause != null) {
      fail(
          cause instanceof SourceException known
              ? known
              : SourceException.unavailable("the source of access tokens failed", cause),
          false);
      return;
    }
    Moment asked;
    synchronized (this) {
      asked = askedAt;
    }
    if (timeline.now().hasReached(asked.plus(issued.expiresIn()))) {
      fail(
          SourceException.unavailable("the access token had expired when it arrived", Cause.EXPIRED_ON_ARRIVAL),
          true);
      return;
    }
    Duration lifetime =
        request.maxAge().filter(age -> age.compareTo(issued.expiresIn()) < 0).orElse(issued.expiresIn());
    tell(
        new Event.Fetched(asked, lifetime, issued.refreshAfter()),
        false,
        () -> {
          token = issued.token();
          failure = null;
          useIsKnown = false;
        });
  }

  private void fail(SourceException reason, boolean expired) {
    LOG.log(
        Level.WARNING,
        "no access token for {0}: {1}: {2}",
        request,
        reason.refusal().map(Refusal::name).orElse(reason.outage().text()),
        reason.getMessage());
    tell(new Event.Failed(!reason.isTransient(), expired, reason.retryAfter()), false, () -> failure = reason);
  }
}
