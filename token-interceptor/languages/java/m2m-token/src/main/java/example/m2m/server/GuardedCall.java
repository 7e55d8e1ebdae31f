package example.m2m.server;

import example.m2m.internal.Timeline;
import example.m2m.policy.MethodPolicy;
import example.m2m.status.Answer;
import example.m2m.status.Mark;
import example.m2m.status.Mark.Stage;
import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.ForwardingServerCallListener.SimpleForwardingServerCallListener;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.Status;
import java.time.Duration;
import java.time.Instant;

/**
 * A stream that ends when its token does, in both directions.
 *
 * <p>It is checked at least once a second: the machine may have been suspended, or its clock set. A busy
 * stream is checked with its messages, twice a second at the most, and its token's expiry with each of them.
 * The first message of an answer always passes.
 */
final class GuardedCall<Q, A> extends UnmarkedCall<Q, A> {
  /** The longest time between two checks. */
  private static final Duration DOZE_MAX = Duration.ofSeconds(1);
  /** The shortest time between two checks of revocation and key. */
  private static final Duration CHECKS_APART = Duration.ofMillis(500);

  private final Judge judge;
  private final MethodPolicy method;
  private final Caller caller;
  private final Timeline timeline;
  private final Context.CancellableContext context;

  private long checkedAt;
  private Instant end;
  private boolean began;
  private boolean closed;
  private volatile boolean ended;
  private Runnable alarm = () -> {};

  private GuardedCall(
      Judge judge, MethodPolicy method, Caller caller, Context context, ServerCall<Q, A> call) {
    super(call);
    this.judge = judge;
    this.method = method;
    this.caller = caller;
    this.timeline = judge.verifier().timeline();
    this.context = context.withCancellation();
    this.checkedAt = timeline.nanos();
    this.end = caller.expiresAt().plus(judge.verifier().leeway());
  }

  static <Q, A> ServerCall.Listener<Q> start(
      Judge judge,
      MethodPolicy method,
      Caller caller,
      Context context,
      ServerCall<Q, A> call,
      Metadata headers,
      ServerCallHandler<Q, A> next) {
    var guarded = new GuardedCall<>(judge, method, caller, context, call);
    guarded.doze();
    return guarded.new Guard(Contexts.interceptCall(guarded.context, guarded, headers, next));
  }

  /** Checks at the next moment that matters. */
  private synchronized void doze() {
    if (ended || closed) {
      return;
    }
    Duration left = Duration.between(timeline.wall(), end);
    Duration pause = left.isNegative() ? Duration.ZERO : left.compareTo(DOZE_MAX) < 0 ? left : DOZE_MAX;
    alarm =
        timeline.after(
            pause,
            () -> {
              synchronized (this) {
                if (look(true)) {
                  doze();
                }
              }
            });
  }

  /** Returns false if the call has ended. */
  private synchronized boolean look(boolean anew) {
    if (ended || closed) {
      return !ended;
    }
    long now = timeline.nanos();
    if (!anew && now - checkedAt < CHECKS_APART.toNanos() && timeline.wall().isBefore(end)) {
      return true;
    }
    checkedAt = now;
    try {
      end = judge.checkAgain(method, caller);
      return true;
    } catch (Denied denied) {
      end(denied.answer());
      return false;
    }
  }

  private void end(Answer answer) {
    ended = true;
    alarm.run();
    Metadata trailers = answer.trailers();
    if (Mark.isRenewable(answer.reason())) {
      Mark.put(trailers, Stage.AFTER_HANDLER, method.path());
    }
    delegate().close(answer.status(), trailers);
    context.cancel(answer.status().asRuntimeException());
  }

  @Override
  public void sendHeaders(Metadata headers) {
    synchronized (this) {
      if (!ended) {
        super.sendHeaders(headers);
      }
    }
  }

  @Override
  public void sendMessage(A message) {
    synchronized (this) {
      boolean passes = began ? look(false) : !ended;
      began = true;
      if (passes) {
        super.sendMessage(message);
        return;
      }
    }
    throw Status.CANCELLED.withDescription("the token of the call is no longer valid").asRuntimeException();
  }

  @Override
  public void close(Status status, Metadata trailers) {
    synchronized (this) {
      if (ended || closed) {
        return;
      }
      closed = true;
      alarm.run();
      super.close(status, trailers);
    }
  }

  @Override
  public boolean isCancelled() {
    return ended || super.isCancelled();
  }

  private synchronized void stop() {
    closed = true;
    alarm.run();
  }

  /**
   * The incoming half. After the verdict no message passes, and the handler reads that the call is cancelled.
   */
  private final class Guard extends SimpleForwardingServerCallListener<Q> {
    Guard(ServerCall.Listener<Q> handler) {
      super(handler);
    }

    @Override
    public void onMessage(Q message) {
      if (look(false)) {
        super.onMessage(message);
      }
    }

    @Override
    public void onHalfClose() {
      if (!ended) {
        super.onHalfClose();
      }
    }

    @Override
    public void onComplete() {
      stop();
      if (ended) {
        super.onCancel();
      } else {
        super.onComplete();
      }
      context.cancel(null);
    }

    @Override
    public void onCancel() {
      stop();
      super.onCancel();
      context.cancel(null);
    }
  }
}
