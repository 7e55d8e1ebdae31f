package example.m2m.client;

import io.grpc.CallCredentials;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Executor;

/** Call credentials that take the request of the called method from its annotations. */
final class PolicyCredentials extends CallCredentials {
  private final Tokens tokens;

  PolicyCredentials(Tokens tokens) {
    this.tokens = tokens;
  }

  @Override
  public void applyRequestMetadata(RequestInfo call, Executor executor, MetadataApplier applier) {
    Routes.Route route = tokens.routes().of(call.getMethodDescriptor());
    if (route.token().isEmpty()) {
      applier.apply(new Metadata());
      return;
    }
    CompletableFuture<FreshToken.Ready> token;
    try {
      FreshToken own = tokens.ownOrCallers(route.token().get());
      token = tokens.bounded(own.get(), Optional.empty(), route.optional());
    } catch (NoToken refused) {
      failOrGoWithout(route, refused.status(), applier);
      return;
    }
    token.whenComplete(
        (ready, error) -> {
          if (error == null) {
            OneToken.apply(call, ready.token(), route.optional(), applier);
          } else {
            failOrGoWithout(route, status(error), applier);
          }
        });
  }

  private static void failOrGoWithout(Routes.Route route, Status status, MetadataApplier applier) {
    if (route.optional()) {
      applier.apply(new Metadata());
    } else {
      applier.fail(status);
    }
  }

  private static Status status(Throwable error) {
    Throwable cause = error instanceof CompletionException ? error.getCause() : error;
    return cause instanceof NoToken noToken ? noToken.status() : Status.fromThrowable(cause);
  }
}
