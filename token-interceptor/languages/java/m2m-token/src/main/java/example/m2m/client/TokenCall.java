package example.m2m.client;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import example.m2m.client.FreshToken.Ready;
import example.m2m.status.Answer;
import example.m2m.status.Mark;
import example.m2m.status.Mark.Stage;
import io.grpc.CallCredentials;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.CompositeCallCredentials;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;

/**
 * A call that carries a token: token, attempt, and (refused before the handler: one new token, one more
 * attempt).
 *
 * <p>The program's actions are kept until there is a token. A unary call's actions are kept until its answer,
 * for the second attempt.
 */
final class TokenCall<Q, A> extends ClientCall<Q, A> {
  private final Tokens tokens;
  private final Routes.Route route;
  private final MethodDescriptor<Q, A> method;
  private final CallOptions options;
  private final Channel next;
  private final Context context = Context.current();

  private final List<Action<Q, A>> kept = new ArrayList<>();
  private ClientCall<Q, A> attempt;
  private Listener<A> listener;
  private Metadata headers;
  private FreshToken token;
  private CompletableFuture<Ready> waiting;
  private boolean closed;

  /** An action of the program on the call. */
  private interface Action<Q, A> {
    void on(ClientCall<Q, A> call);
  }

  TokenCall(
      Tokens tokens,
      Routes.Route route,
      MethodDescriptor<Q, A> method,
      CallOptions options,
      Channel next) {
    this.tokens = tokens;
    this.route = route;
    this.method = method;
    this.options = options;
    this.next = next;
  }

  @Override
  public void start(Listener<A> responses, Metadata sent) {
    listener = responses;
    headers = sent;
    if (sent.containsKey(OneToken.AUTHORIZATION)) {
      if (TokenInterceptor.isCallers(sent)) {
        sent.discardAll(OneToken.AUTHORIZATION);
      } else if (tokens.isOnBehalf()) {
        fail(NoToken.authorizationRefused());
        return;
      } else {
        begin(next.newCall(method, options), new UnmarkedListener<>(responses), sent);
        return;
      }
    }
    try {
      token = tokens.ownOrCallers(route.token().orElseThrow(NoToken::noCaller));
    } catch (NoToken refused) {
      failOrGoWithout(refused);
      return;
    }
    Optional<Ready> inHand = token.ready();
    if (inHand.isPresent()) {
      attempt(inHand.get(), true);
      return;
    }
    waiting = tokens.bounded(token.get(), deadline(), route.optional());
    waiting.whenComplete((ready, error) -> context.run(() -> arrived(ready, error)));
  }

  private Optional<Deadline> deadline() {
    Deadline ofContext = context.getDeadline();
    Deadline ofCall = options.getDeadline();
    if (ofContext == null || ofCall == null) {
      return Optional.ofNullable(ofCall == null ? ofContext : ofCall);
    }
    return Optional.of(ofCall.minimum(ofContext));
  }

  private void arrived(Ready ready, Throwable error) {
    if (error == null) {
      attempt(ready, true);
      return;
    }
    Throwable cause = error instanceof CompletionException ? error.getCause() : error;
    if (cause instanceof NoToken noToken) {
      failOrGoWithout(noToken);
    } else {
      close(Status.fromThrowable(cause), new Metadata());
    }
  }

  /** A call to a method that needs no token is anonymous where there is none. */
  private void failOrGoWithout(NoToken reason) {
    if (!route.optional() || reason.status().getCode() == Status.Code.DEADLINE_EXCEEDED) {
      fail(reason);
      return;
    }
    synchronized (this) {
      token = null;
    }
    begin(next.newCall(method, options), new UnmarkedListener<>(listener), headers);
  }

  private void attempt(Ready ready, boolean first) {
    CallCredentials credentials = new OneToken(ready.token(), route.optional());
    if (options.getCredentials() != null) {
      credentials = new CompositeCallCredentials(options.getCredentials(), credentials);
    }
    var sent = new Metadata();
    sent.merge(headers);
    begin(
        next.newCall(method, options.withCallCredentials(credentials)),
        new Responses(ready, first && route.replayable()),
        sent);
  }

  /** Starts an attempt, and repeats what the program has done so far. */
  private void begin(ClientCall<Q, A> call, Listener<A> responses, Metadata sent) {
    synchronized (this) {
      if (closed) {
        return;
      }
      call.start(responses, sent);
      attempt = call;
      List.copyOf(kept).forEach(action -> action.on(call));
      if (!(responses instanceof TokenCall<?, ?>.Responses again) || !again.replayable) {
        kept.clear();
      }
    }
  }

  private void fail(NoToken reason) {
    close(reason.status(), reason.trailers());
  }

  private void close(Status status, Metadata trailers) {
    synchronized (this) {
      if (closed) {
        return;
      }
      closed = true;
      kept.clear();
    }
    Runnable closing = () -> listener.onClose(status, trailers);
    if (options.getExecutor() == null) {
      closing.run();
    } else {
      options.getExecutor().execute(context.wrap(closing));
    }
  }

  private synchronized void act(Action<Q, A> action) {
    if (closed) {
      return;
    }
    if (attempt == null || mayBeSentAgain()) {
      kept.add(action);
    }
    if (attempt != null) {
      action.on(attempt);
    }
  }

  /** A unary call's few actions are kept until its answer. */
  private boolean mayBeSentAgain() {
    return route.replayable() && token != null && !answered;
  }

  private boolean answered;

  @Override
  public void request(int messages) {
    act(call -> call.request(messages));
  }

  @Override
  public void halfClose() {
    act(ClientCall::halfClose);
  }

  @Override
  public void sendMessage(Q message) {
    act(call -> call.sendMessage(message));
  }

  @Override
  public void setMessageCompression(boolean enabled) {
    act(call -> call.setMessageCompression(enabled));
  }

  @Override
  public void cancel(String message, Throwable cause) {
    ClientCall<Q, A> current;
    synchronized (this) {
      current = attempt;
    }
    if (current != null) {
      current.cancel(message, cause);
    }
    if (waiting != null && !waiting.isDone()) {
      close(Status.CANCELLED.withDescription(message).withCause(cause), new Metadata());
    }
  }

  @Override
  public boolean isReady() {
    ClientCall<Q, A> current;
    synchronized (this) {
      current = attempt;
    }
    return current != null && current.isReady();
  }

  /** The answer to one attempt. */
  private final class Responses extends UnmarkedListener<A> {
    private final Ready sent;
    private final boolean replayable;

    Responses(Ready sent, boolean replayable) {
      super(listener);
      this.sent = sent;
      this.replayable = replayable;
    }

    @Override
    public void onHeaders(Metadata head) {
      settle();
      super.onHeaders(head);
    }

    /** From now on the call is not sent again. */
    private void settle() {
      synchronized (TokenCall.this) {
        answered = true;
        kept.clear();
      }
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      Optional<Stage> stage = refused(status, trailers);
      boolean again = replayable && stage.equals(Optional.of(Stage.BEFORE_HANDLER)) && !answered;
      if (!again) {
        stage.ifPresent(refused -> token.reject(sent.generation()));
        settle();
        super.onClose(status, trailers);
        return;
      }
      CompletableFuture<Ready> newer = tokens.bounded(token.replacement(sent.generation()), deadline(), route.optional());
      synchronized (TokenCall.this) {
        waiting = newer;
      }
      newer.whenComplete(
          (ready, error) -> {
            // A source that returns the same token again has no better one.
            boolean better = error == null && ready != null && !ready.token().equals(sent.token());
            if (better && !deadline().map(Deadline::isExpired).orElse(false)) {
              context.run(() -> attempt(ready, false));
            } else {
              close(status, trailers);
            }
          });
    }

    /**
     * Takes the layer's mark from the answer. Both mark and reason must be present: every program may write
     * the reason.
     */
    private Optional<Stage> refused(Status status, Metadata trailers) {
      Optional<Stage> stage = Mark.take(trailers, "/" + method.getFullMethodName());
      if (stage.isEmpty() || status.getCode() != Status.Code.UNAUTHENTICATED) {
        return Optional.empty();
      }
      return reason(status, trailers).flatMap(Answer::reason).filter(Mark::isRenewable).flatMap(renewable -> stage);
    }

    private Optional<String> reason(Status status, Metadata trailers) {
      com.google.rpc.Status details = StatusProto.fromStatusAndTrailers(status, trailers);
      for (var detail : details.getDetailsList()) {
        try {
          if (detail.is(ErrorInfo.class) && detail.unpack(ErrorInfo.class).getDomain().equals(Answer.DOMAIN)) {
            return Optional.of(detail.unpack(ErrorInfo.class).getReason());
          }
        } catch (InvalidProtocolBufferException unreadable) {
          return Optional.empty();
        }
      }
      return Optional.empty();
    }
  }
}
