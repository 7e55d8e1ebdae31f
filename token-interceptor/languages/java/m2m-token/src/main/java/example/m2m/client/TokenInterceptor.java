package example.m2m.client;

import example.m2m.server.Caller;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import java.util.List;
import java.util.Optional;

/** The interceptor: it resolves the token of a call, and leaves the call to {@link TokenCall}. */
final class TokenInterceptor implements ClientInterceptor {
  private final Tokens tokens;

  TokenInterceptor(Tokens tokens) {
    this.tokens = tokens;
  }

  @Override
  public <Q, A> ClientCall<Q, A> interceptCall(
      MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
    Routes.Route route = tokens.routes().of(method);
    if (route.token().isEmpty()) {
      return new Unmarked<>(next.newCall(method, options));
    }
    return new TokenCall<>(tokens, route, method, options, next);
  }

  /**
   * Tells if a call's own authorization is that of the caller whom the program serves: then it is not passed
   * on.
   */
  static boolean isCallers(Metadata headers) {
    Optional<Caller> caller = Caller.current();
    Iterable<String> values = headers.getAll(OneToken.AUTHORIZATION);
    if (caller.isEmpty() || values == null) {
      return false;
    }
    for (String value : values) {
      List<String> words = List.of(value.trim().split(" +"));
      if (words.get(words.size() - 1).equals(caller.get().bearer())) {
        return true;
      }
    }
    return false;
  }

  /** A call that needs no token. The mark is removed, as the program could pass it on as its own. */
  private static final class Unmarked<Q, A> extends SimpleForwardingClientCall<Q, A> {
    Unmarked(ClientCall<Q, A> call) {
      super(call);
    }

    @Override
    public void start(Listener<A> listener, Metadata headers) {
      if (isCallers(headers)) {
        headers.discardAll(OneToken.AUTHORIZATION);
      }
      super.start(new UnmarkedListener<>(listener), headers);
    }
  }
}
