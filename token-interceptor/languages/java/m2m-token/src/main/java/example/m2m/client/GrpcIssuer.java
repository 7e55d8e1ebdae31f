package example.m2m.client;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import example.m2m.status.Answer;
import example.m2m.token.v1.ClientAuthentication;
import example.m2m.token.v1.ErrorReason;
import example.m2m.token.v1.ExchangeTokenRequest;
import example.m2m.token.v1.ExchangeTokenResponse;
import example.m2m.token.v1.IssueTokenRequest;
import example.m2m.token.v1.IssueTokenResponse;
import example.m2m.token.v1.SecurityToken;
import example.m2m.token.v1.Token;
import example.m2m.token.v1.TokenServiceGrpc;
import io.grpc.Context;
import io.grpc.ManagedChannel;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

/** Tokens from {@code m2m.token.v1.TokenService}. */
final class GrpcIssuer extends Issuer {
  /** RFC 8693 section 3. */
  private static final String ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
  private static final int ATTEMPT_SECONDS_MAX = 30;

  private final ManagedChannel channel;

  GrpcIssuer(ManagedChannel channel) {
    this.channel = channel;
  }

  @Override
  CompletionStage<IssuedToken> obtain(
      Grant grant, String clientId, ClientCredential credential, TokenRequest request) {
    ClientAuthentication client;
    try {
      client = credential.forGrpc(clientId);
    } catch (SourceException failed) {
      return CompletableFuture.failedFuture(failed);
    }
    var outcome = new CompletableFuture<IssuedToken>();
    var stub = TokenServiceGrpc.newStub(channel).withDeadlineAfter(ATTEMPT_SECONDS_MAX, TimeUnit.SECONDS);
    // Not in the caller's context: its cancellation and deadline are not those of the others who wait.
    Context.ROOT.run(
        () -> {
          if (grant == Grant.CLIENT_CREDENTIALS) {
            stub.issueToken(issue(client, request), answer(outcome, IssueTokenResponse::getToken));
          } else {
            stub.exchangeToken(exchange(client, request), answer(outcome, ExchangeTokenResponse::getToken));
          }
        });
    return outcome;
  }

  private static IssueTokenRequest issue(ClientAuthentication client, TokenRequest request) {
    var message = IssueTokenRequest.newBuilder().setClient(client).addAllScopes(request.scopes());
    request.audience().ifPresent(message::addAudiences);
    return message.build();
  }

  private static ExchangeTokenRequest exchange(ClientAuthentication client, TokenRequest request) {
    var subject =
        SecurityToken.newBuilder().setValue(request.subjectToken().orElse("")).setType(ACCESS_TOKEN);
    var message =
        ExchangeTokenRequest.newBuilder().setClient(client).setSubject(subject).addAllScopes(request.scopes());
    request.audience().ifPresent(message::addAudiences);
    return message.build();
  }

  private static <R> StreamObserver<R> answer(
      CompletableFuture<IssuedToken> outcome, Function<R, Token> token) {
    return new StreamObserver<>() {
      @Override
      public void onNext(R response) {
        try {
          outcome.complete(read(token.apply(response)));
        } catch (SourceException unusable) {
          outcome.completeExceptionally(unusable);
        }
      }

      @Override
      public void onError(Throwable error) {
        outcome.completeExceptionally(failure(error));
      }

      @Override
      public void onCompleted() {
        outcome.completeExceptionally(SourceException.unavailable("the answer is empty", Cause.ANSWER));
      }
    };
  }

  private static IssuedToken read(Token token) throws SourceException {
    if (!token.getTokenType().equalsIgnoreCase("bearer")) {
      throw SourceException.unavailable("the issuer's token is not a bearer token", Cause.ANSWER);
    }
    AccessToken value =
        AccessToken.of(token.getValue())
            .orElseThrow(() -> SourceException.unavailable("the issuer's token is malformed", Cause.ANSWER));
    Duration lifetime =
        token.hasExpiresIn() ? duration(token.getExpiresIn()) : IssuedToken.LIFETIME_DEFAULT;
    return new IssuedToken(
        value,
        lifetime,
        token.hasRefreshAfter() ? Optional.of(duration(token.getRefreshAfter())) : Optional.empty());
  }

  private static Duration duration(com.google.protobuf.Duration duration) {
    return Duration.ofSeconds(Math.max(0, duration.getSeconds()), Math.max(0, duration.getNanos()));
  }

  /** The issuer's message is dropped: it is meant for the issuer's log. */
  private static SourceException failure(Throwable error) {
    Status.Code code = Status.fromThrowable(error).getCode();
    Optional<ErrorReason> reason = Optional.empty();
    Optional<Duration> retryAfter = Optional.empty();
    var status = StatusProto.fromThrowable(error);
    for (Any detail : status == null ? List.<Any>of() : status.getDetailsList()) {
      try {
        if (detail.is(ErrorInfo.class)) {
          ErrorInfo info = detail.unpack(ErrorInfo.class);
          reason = info.getDomain().equals(Answer.DOMAIN) ? Answer.reason(info.getReason()) : reason;
        } else if (detail.is(RetryInfo.class)) {
          retryAfter = Optional.of(duration(detail.unpack(RetryInfo.class).getRetryDelay()));
        }
      } catch (InvalidProtocolBufferException unreadable) {
        // Such a detail says nothing; the code does.
        continue;
      }
    }
    String text = "the issuer answered " + code + reason.map(known -> ": " + known.name()).orElse("");
    Optional<Refusal> refusal = reason.isPresent() ? ofReason(reason.get()) : ofCode(code);
    SourceException failure =
        refusal.isPresent()
            ? SourceException.refused(refusal.get(), text)
            : SourceException.unavailable(text, error);
    return failure.withRetryAfter(retryAfter);
  }

  private static Optional<Refusal> ofReason(ErrorReason reason) {
    return switch (reason) {
      case ERROR_REASON_CLIENT_AUTHENTICATION_FAILED, ERROR_REASON_CREDENTIALS_MISSING ->
          Optional.of(Refusal.CLIENT_AUTHENTICATION);
      case ERROR_REASON_CLIENT_NOT_AUTHORIZED, ERROR_REASON_CALLER_NOT_ALLOWED ->
          Optional.of(Refusal.CLIENT_NOT_AUTHORIZED);
      case ERROR_REASON_INVALID_SCOPE, ERROR_REASON_SCOPE_INSUFFICIENT -> Optional.of(Refusal.SCOPE);
      case ERROR_REASON_INVALID_TARGET -> Optional.of(Refusal.TARGET);
      case ERROR_REASON_INVALID_GRANT -> Optional.of(Refusal.GRANT);
      case ERROR_REASON_INVALID_REQUEST,
          ERROR_REASON_TOKEN_TOO_LARGE,
          ERROR_REASON_UNSUPPORTED_GRANT_TYPE ->
          Optional.of(Refusal.REQUEST);
      default -> Optional.empty();
    };
  }

  /** For an issuer, or a proxy in front of it, that gives no reason. */
  private static Optional<Refusal> ofCode(Status.Code code) {
    return switch (code) {
      case UNAUTHENTICATED -> Optional.of(Refusal.CLIENT_AUTHENTICATION);
      case PERMISSION_DENIED -> Optional.of(Refusal.CLIENT_NOT_AUTHORIZED);
      case INVALID_ARGUMENT -> Optional.of(Refusal.REQUEST);
      default -> Optional.empty();
    };
  }
}
