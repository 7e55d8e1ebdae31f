package example.m2m.verify;

import java.time.Duration;
import java.util.Optional;

/**
 * The reason a token was rejected. Its message is for logs. It never holds the token, nor a claim about a
 * person.
 */
public final class VerifyException extends Exception {
  private static final long serialVersionUID = 1;

  private final Fault fault;
  private final transient Optional<Duration> retryAfter;

  VerifyException(Fault fault, String detail) {
    this(fault, detail, Optional.empty());
  }

  private VerifyException(Fault fault, String detail, Optional<Duration> retryAfter) {
    // No stack trace: an attacker can cause many, and they all look alike.
    super(detail, null, false, false);
    this.fault = fault;
    this.retryAfter = retryAfter;
  }

  static VerifyException unavailable(Duration retryAfter) {
    return new VerifyException(
        Fault.KEY_UNAVAILABLE, "the keys of the issuer are unreachable", Optional.of(retryAfter));
  }

  /** Returns the failed check. */
  public Fault fault() {
    return fault;
  }

  /** Returns the time to wait before a retry, if the verifier could not reach a verdict. */
  public Optional<Duration> retryAfter() {
    return retryAfter == null ? Optional.empty() : retryAfter;
  }

  /** Returns true if the same token may be accepted later. */
  public boolean isTransient() {
    return fault == Fault.KEY_UNAVAILABLE;
  }
}
