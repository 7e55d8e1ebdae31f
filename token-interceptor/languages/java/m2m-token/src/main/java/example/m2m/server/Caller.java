package example.m2m.server;

import example.m2m.token.v1.ErrorReason;
import example.m2m.status.Answer;
import example.m2m.verify.Actor;
import example.m2m.verify.VerifiedToken;
import io.grpc.Context;
import io.grpc.StatusException;
import java.time.Instant;
import java.util.List;
import java.util.Optional;

/**
 * The verified identity and rights of a caller, for handlers.
 *
 * <p>It is in the {@link Context} of the call. A handler that goes on in another thread takes it along, by
 * {@link Context#wrap(Runnable)} or as a value.
 */
public final class Caller {
  /** The key of the caller in the context of a call. */
  public static final Context.Key<Caller> KEY = Context.key("m2m-caller");

  private final VerifiedToken token;
  private final String presented;

  Caller(VerifiedToken token, String presented) {
    this.token = token;
    this.presented = presented;
  }

  /** Returns the caller of the current call; none in a method that needs no token. */
  public static Optional<Caller> current() {
    return Optional.ofNullable(KEY.get());
  }

  /**
   * Returns the caller of the current call.
   *
   * @throws StatusException UNAUTHENTICATED, when the method needs no token or the call passed no layer
   */
  public static Caller required() throws StatusException {
    Caller caller = KEY.get();
    if (caller == null) {
      throw Answer.of(ErrorReason.ERROR_REASON_CREDENTIALS_MISSING, "a bearer token is required").exception();
    }
    return caller;
  }

  /** Returns the verified token. */
  public VerifiedToken token() {
    return token;
  }

  /** Returns {@code iss}. */
  public String issuer() {
    return token.issuer();
  }

  /** Returns {@code sub}: the user whom the client acts for, or the client itself. */
  public String subject() {
    return token.subject();
  }

  /** Returns {@code client_id}: the client that the token was issued to. */
  public String clientId() {
    return token.clientId();
  }

  /** Returns {@code scope}: the scopes that were granted. */
  public List<String> scopes() {
    return token.scopes();
  }

  /** Returns true if {@code scope} was granted. */
  public boolean hasScope(String scope) {
    return token.scopes().contains(scope);
  }

  /** Returns {@code exp}. */
  public Instant expiresAt() {
    return token.expiresAt();
  }

  /** Returns {@code act}: the parties that act for the subject, the current actor first. */
  public List<Actor> actors() {
    return token.actors();
  }

  /**
   * Returns the token itself. Use it only to exchange it for a token of the next service (RFC 8693). Never
   * forward it: it was issued for this service.
   */
  public String bearer() {
    return presented;
  }

  /** Names the token's issuer, client and ID. */
  @Override
  public String toString() {
    return "Caller[" + token + "]";
  }
}
