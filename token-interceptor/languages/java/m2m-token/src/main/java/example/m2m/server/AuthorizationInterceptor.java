package example.m2m.server;

import example.m2m.policy.MethodPolicy;
import example.m2m.status.Answer;
import example.m2m.status.Mark;
import example.m2m.status.Mark.Stage;
import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import java.lang.System.Logger.Level;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;

/** The request path: it decides on a call, and carries the decision out. */
final class AuthorizationInterceptor implements ServerInterceptor {
  private static final System.Logger LOG = System.getLogger(AuthorizationInterceptor.class.getName());
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
  /** The fetches that one call waits for: one that began before its key was published, and one of its own. */
  private static final int FETCHES_AWAITED_MAX = 2;

  private final Judge judge;
  private final Consumer<Decision> recorder;
  private final boolean observing;
  private final Throttle lines = new Throttle();

  AuthorizationInterceptor(Judge judge, Consumer<Decision> recorder, boolean observing) {
    this.judge = judge;
    this.recorder = recorder;
    this.observing = observing;
  }

  @Override
  public <Q, A> ServerCall.Listener<Q> interceptCall(
      ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
    String path = "/" + call.getMethodDescriptor().getFullMethodName();
    List<String> authorization = authorization(headers);
    Judge.Outcome outcome = judge.decide(path, authorization);
    if (outcome.news().isEmpty()) {
      return enter(outcome, path, call, headers, next);
    }
    var pending = new PendingListener<Q>();
    Context context = Context.current();
    Runnable[] retry = new Runnable[1];
    int[] fetches = {1};
    retry[0] =
        () -> {
          Judge.Outcome again = judge.decide(path, authorization);
          if (again.news().isPresent() && fetches[0]++ < FETCHES_AWAITED_MAX) {
            again.news().get().thenRun(retry[0]);
            return;
          }
          Judge.Outcome last = again.news().isPresent() ? judge.keyIsLate() : again;
          context.run(() -> pending.become(enter(last, path, call, headers, next)));
        };
    outcome.news().get().thenRun(retry[0]);
    return pending;
  }

  private static List<String> authorization(Metadata headers) {
    var values = new ArrayList<String>(1);
    Iterable<String> found = headers.getAll(AUTHORIZATION);
    if (found != null) {
      found.forEach(values::add);
    }
    return values;
  }

  private <Q, A> ServerCall.Listener<Q> enter(
      Judge.Outcome outcome,
      String path,
      ServerCall<Q, A> call,
      Metadata headers,
      ServerCallHandler<Q, A> next) {
    report(outcome, path);
    if (outcome.denied().isPresent() && !observing) {
      Answer answer = outcome.denied().get().answer();
      Metadata trailers = answer.trailers();
      if (Mark.isRenewable(answer.reason())) {
        Mark.put(trailers, Stage.BEFORE_HANDLER, path);
      }
      call.close(answer.status(), trailers);
      return new ServerCall.Listener<>() {};
    }
    if (outcome.caller().isEmpty()) {
      return next.startCall(new UnmarkedCall<>(call), headers);
    }
    Caller caller = outcome.caller().get();
    Context context = Context.current().withValue(Caller.KEY, caller);
    Optional<MethodPolicy> method = outcome.method().filter(policy -> outcome.denied().isEmpty());
    boolean guarded =
        method.map(policy -> !policy.isUnary() && !policy.requirement().get().outlivesToken()).orElse(false);
    return guarded && !observing
        ? GuardedCall.start(judge, method.get(), caller, context, call, headers, next)
        : Contexts.interceptCall(context, new UnmarkedCall<>(call), headers, next);
  }

  private void report(Judge.Outcome outcome, String path) {
    Optional<Denied> denied = outcome.denied();
    if (denied.isPresent()) {
      long leftOut = lines.admit(judge.verifier().now().getEpochSecond());
      if (leftOut >= 0) {
        LOG.log(
            Level.INFO,
            "{0} a call of {1}: {2} {3}, {4} lines left out",
            observing ? "would refuse" : "refused",
            path,
            denied.get().getMessage(),
            outcome.caller().map(Caller::toString).orElse(""),
            leftOut);
      }
    }
    recorder.accept(
        new Decision(
            path,
            outcome.caller(),
            denied.map(Denied::answer),
            denied.map(Denied::getMessage).orElse(""),
            observing));
  }
}
