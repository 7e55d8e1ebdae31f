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
    Optional<FreshToken> own = tokens.routes().of(call.getMethodDescriptor()).token();
    if (own.isEmpty()) {
      applier.apply(new Metadata());
      return;
    }
    CompletableFuture<FreshToken.Ready> token;
    try {
      token = tokens.bounded(tokens.ownOrCallers(own.get()).get(), Optional.empty());
    } catch (NoToken refused) {
      applier.fail(refused.status());
      return;
    }
    token.whenComplete(
        (ready, error) -> {
          if (error == null) {
            OneToken.apply(call, ready.token(), applier);
          } else {
            applier.fail(status(error));
          }
        });
  }

  private static Status status(Throwable error) {
    Throwable cause = error instanceof CompletionException ? error.getCause() : error;
    return cause instanceof NoToken noToken ? noToken.status() : Status.fromThrowable(cause);
  }
}
