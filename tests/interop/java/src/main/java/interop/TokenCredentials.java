package interop;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.Durations;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.CallCredentials;
import io.grpc.ChannelCredentials;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.SecurityLevel;
import io.grpc.Status;
import io.grpc.TlsChannelCredentials;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.DoubleSupplier;
import java.util.function.Supplier;
import example.m2m.token.v1.ClientAuthentication;
import example.m2m.token.v1.IssueTokenRequest;
import example.m2m.token.v1.IssueTokenResponse;
import example.m2m.token.v1.Token;
import example.m2m.token.v1.TokenServiceGrpc;

/**
 * Attaches access tokens to gRPC calls. Gets them from a TokenService with the client's secret (RFC 6749
 * section 4.4), caches them, and renews them before they expire. Each audience needs its own credentials. Safe
 * for concurrent use.
 *
 * <pre>{@code
 * var tokens = TokenCredentials.connect("localhost:8443", tls, "orders", secret, "inventory");
 * var inventory = InventoryServiceGrpc.newBlockingStub(channel).withCallCredentials(tokens);
 * }</pre>
 */
public final class TokenCredentials extends CallCredentials {
  /** The time limit of a request to the issuer. It does not depend on the deadline of the call. */
  private static final Duration FETCH_TIMEOUT = Duration.ofSeconds(30);

  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private final Consumer<StreamObserver<IssueTokenResponse>> issuer;
  private final Supplier<Moment> clock;
  private final DoubleSupplier jitter;

  /** The newest token, which may have expired. */
  private Held held;
  /** The request in flight, shared by all waiting calls. */
  private CompletableFuture<Held> flight;
  /** The error of the last request, if it failed. */
  private Status failure;
  /** Failures in a row. */
  private int attempts;
  /** The time of the next allowed request. */
  private Moment retryAt;

  TokenCredentials(
      Consumer<StreamObserver<IssueTokenResponse>> issuer, Supplier<Moment> clock, DoubleSupplier jitter) {
    this.issuer = issuer;
    this.clock = clock;
    this.jitter = jitter;
  }

  /**
   * Returns credentials from the token service at {@code issuer} ("host:port"), over TLS. Without scopes,
   * requests the client's default scopes. The first call fetches the first token.
   */
  public static TokenCredentials connect(
      String issuer, ChannelCredentials tls, String clientId, String secret, String audience, String... scopes) {
    if (!(tls instanceof TlsChannelCredentials)) {
      throw new IllegalArgumentException("a secret needs an encrypted connection");
    }
    ManagedChannel channel = Grpc.newChannelBuilder(issuer, tls).build();
    var request =
        IssueTokenRequest.newBuilder()
            .setClient(ClientAuthentication.newBuilder().setClientId(clientId).setClientSecret(secret))
            .addAudiences(audience)
            .addAllScopes(List.of(scopes))
            .build();
    return new TokenCredentials(
        observer ->
            TokenServiceGrpc.newStub(channel)
                .withDeadlineAfter(FETCH_TIMEOUT.toSeconds(), TimeUnit.SECONDS)
                .issueToken(request, observer),
        Moment::now,
        () -> ThreadLocalRandom.current().nextDouble());
  }

  @Override
  public void applyRequestMetadata(RequestInfo call, Executor executor, MetadataApplier applier) {
    // grpc-java leaves this check to the credentials.
    if (call.getSecurityLevel() != SecurityLevel.PRIVACY_AND_INTEGRITY) {
      applier.fail(Status.UNAUTHENTICATED.withDescription("a token needs an encrypted connection"));
      return;
    }
    header()
        .whenComplete(
            (header, error) -> {
              if (error != null) {
                applier.fail(Status.fromThrowable(error));
                return;
              }
              var metadata = new Metadata();
              metadata.put(AUTHORIZATION, header);
              applier.apply(metadata);
            });
  }

  /** Returns the header of an unexpired token. Waits for the issuer only if there is none. */
  CompletableFuture<String> header() {
    CompletableFuture<String> answer;
    CompletableFuture<Held> start = null;
    Moment now;
    synchronized (this) {
      now = clock.get();
      Held usable = held != null && !now.reached(held.expires) ? held : null;
      boolean due = usable == null || now.reached(usable.renewAt);
      if (due && flight == null && (retryAt == null || now.reached(retryAt))) {
        flight = start = new CompletableFuture<>();
      }
      if (usable != null) {
        answer = CompletableFuture.completedFuture(usable.header);
      } else if (flight != null) {
        answer = flight.thenApply(this::unexpired);
      } else {
        answer = CompletableFuture.failedFuture(failure.asRuntimeException());
      }
    }
    if (start != null) {
      fetch(start, now);
    }
    return answer;
  }

  private String unexpired(Held fetched) {
    if (clock.get().reached(fetched.expires)) {
      throw Status.UNAVAILABLE.withDescription("no token: it expired on its way").asRuntimeException();
    }
    return fetched.header;
  }

  private void fetch(CompletableFuture<Held> started, Moment asked) {
    var observer =
        new StreamObserver<IssueTokenResponse>() {
          @Override
          public void onNext(IssueTokenResponse response) {
            started.complete(succeeded(response.getToken(), asked));
          }

          @Override
          public void onError(Throwable error) {
            started.completeExceptionally(failed(error).asRuntimeException());
          }

          @Override
          public void onCompleted() {}
        };
    // This is not the caller's context, because other calls wait for the same answer.
    Context.ROOT.run(() -> issuer.accept(observer));
  }

  private synchronized Held succeeded(Token issued, Moment asked) {
    // Both count from before the request, so the time on the network shortens them.
    held =
        new Held(
            "Bearer " + issued.getValue(),
            asked.plus(Duration.ofNanos(Durations.toNanos(issued.getRefreshAfter()))),
            asked.plus(Duration.ofNanos(Durations.toNanos(issued.getExpiresIn()))));
    failure = null;
    attempts = 0;
    retryAt = null;
    flight = null;
    return held;
  }

  private synchronized Status failed(Throwable error) {
    Refusal refusal = Refusal.of(error);
    // Full jitter, so that clients that failed together do not retry together.
    long ceiling = Math.min(refusal.limit.toMillis(), refusal.base.toMillis() << Math.min(attempts, 16));
    Duration backoff = Duration.ofMillis((long) (jitter.getAsDouble() * ceiling));
    failure = refusal.status;
    retryAt = clock.get().plus(backoff.compareTo(refusal.atLeast) > 0 ? backoff : refusal.atLeast);
    attempts++;
    flight = null;
    return failure;
  }

  private record Held(String header, Moment renewAt, Moment expires) {}

  /**
   * Returns the error for a call, the first and the longest time to wait, and the time that the issuer asked
   * for. The issuer's own status is never forwarded, because the caller did not call the issuer.
   */
  private record Refusal(Status status, Duration base, Duration limit, Duration atLeast) {
    static Refusal of(Throwable error) {
      Status.Code code = Status.fromThrowable(error).getCode();
      String reason = code.name();
      Duration atLeast = Duration.ZERO;
      var answer = StatusProto.fromThrowable(error);
      for (var detail : answer == null ? List.<com.google.protobuf.Any>of() : answer.getDetailsList()) {
        try {
          if (detail.is(RetryInfo.class)) {
            atLeast = Duration.ofNanos(Durations.toNanos(detail.unpack(RetryInfo.class).getRetryDelay()));
          } else if (detail.is(ErrorInfo.class)) {
            ErrorInfo info = detail.unpack(ErrorInfo.class);
            reason = info.getDomain().equals("m2m.token.v1") ? info.getReason() : reason;
          }
        } catch (InvalidProtocolBufferException unreadable) {
          // The code is enough if the details cannot be read.
        }
      }
      return switch (code) {
        // The client's registration is wrong until an operator repairs it, so wait for at least a second.
        case UNAUTHENTICATED, PERMISSION_DENIED, INVALID_ARGUMENT ->
            new Refusal(
                Status.UNAUTHENTICATED.withDescription("no token: " + reason),
                Duration.ofSeconds(1),
                Duration.ofSeconds(60),
                atLeast.compareTo(Duration.ofSeconds(1)) > 0 ? atLeast : Duration.ofSeconds(1));
        default ->
            new Refusal(
                Status.UNAVAILABLE.withDescription("no token: " + reason),
                Duration.ofMillis(100),
                Duration.ofSeconds(30),
                atLeast);
      };
    }
  }

  /**
   * A time on both clocks. The monotonic clock stops while the machine is suspended. The other clock can be
   * set.
   */
  record Moment(long monotonicNanos, Instant wall) {
    static Moment now() {
      return new Moment(System.nanoTime(), Instant.now());
    }

    Moment plus(Duration duration) {
      return new Moment(monotonicNanos + duration.toNanos(), wall.plus(duration));
    }

    /** Returns true if either clock has reached the time: renewing too early is safer than too late. */
    boolean reached(Moment other) {
      return monotonicNanos - other.monotonicNanos >= 0 || !wall.isBefore(other.wall);
    }
  }
}
