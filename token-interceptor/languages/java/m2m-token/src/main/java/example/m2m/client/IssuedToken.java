package example.m2m.client;

import java.time.Duration;
import java.util.Optional;

/**
 * A token from its source.
 *
 * @param token the token
 * @param expiresIn its lifetime, counted from the request: correct even with a wrong clock
 * @param refreshAfter the issuer's time of renewal, counted from the request
 */
public record IssuedToken(AccessToken token, Duration expiresIn, Optional<Duration> refreshAfter) {
  /** The assumed lifetime of a token whose issuer states none. */
  public static final Duration LIFETIME_DEFAULT = Duration.ofSeconds(60);
}
