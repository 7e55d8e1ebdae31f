package example.m2m.verify;

import example.m2m.internal.Moment;
import example.m2m.internal.Timeline;
import example.m2m.verify.Schedule.UnknownKey;
import java.lang.System.Logger.Level;
import java.lang.ref.WeakReference;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * A key set that is fetched, held, and fetched again: one fetch at a time. A verifier that is no longer used
 * is not kept alive by the alarm of the next fetch.
 */
final class RemoteKeySet implements KeySource {
  private static final System.Logger LOG = System.getLogger(RemoteKeySet.class.getName());
  /** The longest time of a fetch, all its steps together. */
  private static final Duration FETCH_TIME_MAX = Duration.ofSeconds(5);

  private final String issuer;
  private final KeyFetcher fetcher;
  private final Optional<Duration> staleAfter;
  private final Timeline timeline;
  private final Schedule schedule;

  private volatile Optional<KeySet> keys = Optional.empty();
  private volatile long version;
  private volatile Optional<Moment> staleFrom = Optional.empty();
  private CompletableFuture<Void> news = new CompletableFuture<>();
  private Runnable alarm = () -> {};
  private boolean closed;

  /**
   * The ageing of a fetched key set.
   *
   * @param maxAge the age at which it is fetched again
   * @param cooldown the minimum interval between fetches that unknown keys cause
   * @param staleAfter the age at which it is no longer used; none for an outage of any length
   */
  record Freshness(Duration maxAge, Duration cooldown, Optional<Duration> staleAfter) {}

  RemoteKeySet(String issuer, KeyFetcher fetcher, Freshness freshness, Timeline timeline) {
    this.issuer = issuer;
    this.fetcher = fetcher;
    this.staleAfter = freshness.staleAfter();
    this.timeline = timeline;
    this.schedule = new Schedule(freshness.maxAge(), freshness.cooldown(), timeline.nanos());
  }

  /** Begins the first fetch. */
  RemoteKeySet started() {
    proceed();
    return this;
  }

  @Override
  public Optional<KeySet> keys() {
    return keys;
  }

  @Override
  public long version() {
    return version;
  }

  @Override
  public UnknownKey unknownKey() {
    UnknownKey verdict;
    synchronized (this) {
      verdict = schedule.unknownKey(timeline.nanos());
    }
    if (verdict instanceof UnknownKey.Wait) {
      proceed();
    }
    return verdict;
  }

  @Override
  public boolean isStale(Instant now) {
    return staleFrom.map(moment -> new Moment(timeline.nanos(), now).hasReached(moment)).orElse(false);
  }

  @Override
  public synchronized CompletableFuture<Void> news() {
    return news;
  }

  @Override
  public synchronized void close() {
    closed = true;
    alarm.run();
  }

  /** Fetches if it is time, or else sets the alarm. */
  private void proceed() {
    synchronized (this) {
      long now = timeline.nanos();
      long next = schedule.next(now);
      alarm.run();
      if (closed || schedule.inFlight()) {
        return;
      }
      if (next - now > 0) {
        var self = new WeakReference<>(this);
        alarm =
            timeline.at(
                next,
                () -> {
                  RemoteKeySet set = self.get();
                  if (set != null) {
                    set.proceed();
                  }
                });
        return;
      }
      schedule.begin();
    }
    var ended = new AtomicBoolean();
    Runnable timeout =
        timeline.after(FETCH_TIME_MAX, () -> fetched(ended, null, new TimeoutException("it takes too long")));
    try {
      fetcher
          .fetch()
          .whenComplete(
              (set, error) -> {
                timeout.run();
                fetched(ended, set, error);
              });
    } catch (RuntimeException failed) {
      timeout.run();
      fetched(ended, null, failed);
    }
  }

  private void fetched(AtomicBoolean ended, KeySet set, Throwable error) {
    if (!ended.compareAndSet(false, true)) {
      return;
    }
    CompletableFuture<Void> waiting;
    synchronized (this) {
      if (error == null && !set.hasNothingUsable()) {
        hold(set);
        schedule.succeeded(timeline.nanos());
      } else {
        LOG.log(Level.WARNING, "the keys of {0} cannot be fetched: {1}", issuer, error == null ? set : error);
        schedule.failed(timeline.nanos(), timeline.draw());
      }
      waiting = news;
      news = new CompletableFuture<>();
    }
    waiting.complete(null);
    proceed();
  }

  private void hold(KeySet set) {
    staleFrom = staleAfter.map(age -> timeline.now().plus(age));
    if (keys.map(set::isSame).orElse(false)) {
      return;
    }
    LOG.log(Level.INFO, "loaded a new key set of {0}: {1}", issuer, set);
    keys = Optional.of(set);
    version++;
  }
}
