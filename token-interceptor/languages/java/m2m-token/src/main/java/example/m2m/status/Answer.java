package example.m2m.status;

import com.google.protobuf.Any;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import example.m2m.token.v1.ErrorReason;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/**
 * The answer to a call that does not get through: a code, a stable reason and a fixed sentence; {@link
 * ErrorInfo} and, where waiting helps, {@link RetryInfo}; and a challenge by RFC 6750 section 3 as metadata.
 */
public final class Answer {
  /** The domain of every reason. */
  public static final String DOMAIN = "m2m.token.v1";

  /** The metadata of the challenge. */
  public static final Metadata.Key<String> CHALLENGE =
      Metadata.Key.of("www-authenticate", Metadata.ASCII_STRING_MARSHALLER);

  private static final String PREFIX = "ERROR_REASON_";

  private final ErrorReason reason;
  private final String sentence;
  private final Map<String, String> metadata = new TreeMap<>();
  private Optional<Duration> retryAfter = Optional.empty();
  private String about = "";

  private Answer(ErrorReason reason, String sentence) {
    this.reason = reason;
    this.sentence = sentence;
  }

  /** Returns an answer with a reason and the fixed sentence that explains it. */
  public static Answer of(ErrorReason reason, String sentence) {
    return new Answer(reason, sentence);
  }

  /** Adds to the metadata of the {@link ErrorInfo}. The missing scopes are the member {@code scope}. */
  public Answer detail(String name, String value) {
    metadata.put(name, value);
    return this;
  }

  /** Adds the time to wait before a retry. */
  public Answer retryAfter(Duration pause) {
    retryAfter = Optional.of(pause);
    return this;
  }

  /** Appends details to the sentence. Only for the client side, which reports to its own program. */
  public Answer about(String details) {
    about = ": " + details;
    return this;
  }

  /** Returns the stable reason. */
  public ErrorReason reason() {
    return reason;
  }

  /** Returns the reason as it is sent: without the prefix of the enum. */
  public String reasonName() {
    return reason.name().substring(PREFIX.length());
  }

  /** Returns the reason of this name, as it is sent. */
  public static Optional<ErrorReason> reason(String name) {
    try {
      return Optional.of(ErrorReason.valueOf(PREFIX + name));
    } catch (IllegalArgumentException unknown) {
      return Optional.empty();
    }
  }

  /** Returns the status with its description, without details. */
  public Status status() {
    return code(reason).toStatus().withDescription(sentence + about);
  }

  /** Returns the trailers: the details, and the challenge. */
  public Metadata trailers() {
    var info = ErrorInfo.newBuilder().setReason(reasonName()).setDomain(DOMAIN).putAllMetadata(metadata);
    var status =
        com.google.rpc.Status.newBuilder()
            .setCode(code(reason).value())
            .setMessage(sentence + about)
            .addDetails(Any.pack(info.build()));
    retryAfter.ifPresent(pause -> status.addDetails(Any.pack(retryInfo(pause))));
    Metadata trailers = StatusProto.toStatusException(status.build()).getTrailers();
    challenge().ifPresent(challenge -> trailers.put(CHALLENGE, challenge));
    return trailers;
  }

  /** Returns the whole answer. */
  public StatusException exception() {
    return new StatusException(status(), trailers());
  }

  private static RetryInfo retryInfo(Duration pause) {
    var delay = com.google.protobuf.Duration.newBuilder().setSeconds(pause.getSeconds()).setNanos(pause.getNano());
    return RetryInfo.newBuilder().setRetryDelay(delay).build();
  }

  /** Returns the challenge of RFC 6750 section 3.1; none where another token would not help. */
  private Optional<String> challenge() {
    return switch (reason) {
      case ERROR_REASON_CREDENTIALS_MISSING -> Optional.of("Bearer");
      case ERROR_REASON_TOKEN_INVALID,
          ERROR_REASON_TOKEN_EXPIRED,
          ERROR_REASON_TOKEN_REVOKED,
          ERROR_REASON_TOKEN_KEY_UNKNOWN,
          ERROR_REASON_TOKEN_AUDIENCE_MISMATCH ->
          Optional.of("Bearer error=\"invalid_token\", error_description=\"" + sentence + '"');
      case ERROR_REASON_SCOPE_INSUFFICIENT ->
          Optional.of(
              "Bearer error=\"insufficient_scope\", scope=\"" + metadata.getOrDefault("scope", "") + '"');
      default -> Optional.empty();
    };
  }

  /** Returns the gRPC code of each reason: {@code m2m/token/v1/error_reason.proto}. */
  public static Status.Code code(ErrorReason reason) {
    return switch (reason) {
      case ERROR_REASON_CREDENTIALS_MISSING,
          ERROR_REASON_TOKEN_INVALID,
          ERROR_REASON_TOKEN_EXPIRED,
          ERROR_REASON_TOKEN_REVOKED,
          ERROR_REASON_TOKEN_KEY_UNKNOWN,
          ERROR_REASON_TOKEN_AUDIENCE_MISMATCH,
          ERROR_REASON_CLIENT_AUTHENTICATION_FAILED ->
          Status.Code.UNAUTHENTICATED;
      case ERROR_REASON_SCOPE_INSUFFICIENT,
          ERROR_REASON_CALLER_NOT_ALLOWED,
          ERROR_REASON_TOKEN_TOO_OLD,
          ERROR_REASON_METHOD_NOT_DECLARED,
          ERROR_REASON_CLIENT_NOT_AUTHORIZED ->
          Status.Code.PERMISSION_DENIED;
      case ERROR_REASON_INVALID_REQUEST,
          ERROR_REASON_INVALID_GRANT,
          ERROR_REASON_TOKEN_TOO_LARGE,
          ERROR_REASON_INVALID_SCOPE,
          ERROR_REASON_INVALID_TARGET,
          ERROR_REASON_UNSUPPORTED_GRANT_TYPE ->
          Status.Code.INVALID_ARGUMENT;
      case ERROR_REASON_RATE_LIMITED -> Status.Code.RESOURCE_EXHAUSTED;
      case ERROR_REASON_TRUST_UNAVAILABLE, ERROR_REASON_ISSUER_UNAVAILABLE -> Status.Code.UNAVAILABLE;
      case ERROR_REASON_NOT_FOUND -> Status.Code.NOT_FOUND;
      case ERROR_REASON_ALREADY_EXISTS -> Status.Code.ALREADY_EXISTS;
      case ERROR_REASON_ETAG_MISMATCH -> Status.Code.ABORTED;
      case ERROR_REASON_PRECONDITION_FAILED -> Status.Code.FAILED_PRECONDITION;
      case ERROR_REASON_INTERNAL, ERROR_REASON_UNSPECIFIED, UNRECOGNIZED -> Status.Code.INTERNAL;
    };
  }
}
