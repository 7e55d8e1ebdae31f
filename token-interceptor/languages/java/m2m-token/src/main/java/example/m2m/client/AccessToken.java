package example.m2m.client;

import java.util.Optional;
import java.util.regex.Pattern;

/** An access token, ready to be sent and never printed. RFC 6750 section 2.1. */
public final class AccessToken {
  private static final Pattern TOKEN = Pattern.compile("[A-Za-z0-9._~+/-]+=*");

  private final String header;

  private AccessToken(String token) {
    header = "Bearer " + token;
  }

  /**
   * Takes a token of RFC 6750's characters. With others, a header could be cut, or smuggle in a second one.
   */
  public static Optional<AccessToken> of(String token) {
    return TOKEN.matcher(token).matches() ? Optional.of(new AccessToken(token)) : Optional.empty();
  }

  /** Returns the value of the {@code authorization} metadata. */
  public String header() {
    return header;
  }

  /** Returns the token itself. It is a secret. */
  public String expose() {
    return header.substring("Bearer ".length());
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof AccessToken token && token.header.equals(header);
  }

  @Override
  public int hashCode() {
    return header.hashCode();
  }

  /** Hides the token. */
  @Override
  public String toString() {
    return "AccessToken[REDACTED]";
  }
}
