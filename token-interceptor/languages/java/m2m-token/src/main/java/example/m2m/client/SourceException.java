package example.m2m.client;

import java.time.Duration;
import java.util.Optional;

/**
 * The error of a token source. Either the source could not answer, which passes by itself; or it refused,
 * which lasts until an operator acts.
 */
public final class SourceException extends Exception {
  private static final long serialVersionUID = 1;

  private final Refusal refusal;
  private final Cause outage;
  private final Duration retryAfter;

  private SourceException(String message, Throwable cause, Refusal refusal, Cause outage, Duration retryAfter) {
    super(message, cause);
    this.refusal = refusal;
    this.outage = outage;
    this.retryAfter = retryAfter;
  }

  /** Creates an error of a source that could not be reached. */
  public static SourceException unavailable(String message, Throwable cause) {
    return new SourceException(message, cause, null, Cause.of(cause), null);
  }

  /** Creates an error of a source that could not answer. */
  public static SourceException unavailable(String message, Cause outage) {
    return new SourceException(message, null, null, outage, null);
  }

  /** Creates an error of a source that refused. */
  public static SourceException refused(Refusal refusal, String message) {
    return new SourceException(message, null, refusal, Cause.ANSWER, null);
  }

  /** Returns the same error with the time before which the source is not to be asked again. */
  public SourceException withRetryAfter(Optional<Duration> pause) {
    return new SourceException(getMessage(), getCause(), refusal, outage, pause.orElse(null));
  }

  /** Returns the issuer's refusal, if it gave one. */
  public Optional<Refusal> refusal() {
    return Optional.ofNullable(refusal);
  }

  /** Returns true if it may pass by itself. */
  public boolean isTransient() {
    return refusal == null;
  }

  /** Returns the class of the outage. */
  public Cause outage() {
    return outage;
  }

  /** Returns the pause that the source demands. */
  public Optional<Duration> retryAfter() {
    return Optional.ofNullable(retryAfter);
  }
}
