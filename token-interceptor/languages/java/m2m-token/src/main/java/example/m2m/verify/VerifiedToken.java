package example.m2m.verify;

import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;

/**
 * A verified token: signature, issuer, audience, times and revocation were checked. RFC 9068 section 2.2.
 *
 * <p>Only {@link Verifier} makes one.
 */
public final class VerifiedToken {
  private final Claims claims;

  VerifiedToken(Claims claims) {
    this.claims = claims;
  }

  /** Returns {@code iss}. */
  public String issuer() {
    return claims.issuer();
  }

  /** Returns {@code sub}: the subject; for client credentials the client itself. */
  public String subject() {
    return claims.subject();
  }

  /** Returns {@code client_id}: the client that the token was issued to. */
  public String clientId() {
    return claims.clientId();
  }

  /** Returns {@code jti}: the token's ID, fit for logs. */
  public String tokenId() {
    return claims.tokenId();
  }

  /** Returns {@code aud}. */
  public List<String> audiences() {
    return claims.audiences();
  }

  /** Returns {@code scope}: the granted scopes, in the token's order. */
  public List<String> scopes() {
    return claims.scopes();
  }

  /** Returns {@code iat}. */
  public Instant issuedAt() {
    return Instant.ofEpochSecond(claims.issuedAt());
  }

  /** Returns {@code exp}. */
  public Instant expiresAt() {
    return Instant.ofEpochSecond(claims.expiresAt());
  }

  /**
   * Returns {@code act}: the parties that act for the subject, the current actor first. Only the first may
   * decide about access; the others are history (RFC 8693 section 4.1).
   */
  public List<Actor> actors() {
    return claims.actors();
  }

  /** Returns every claim, as in the token. */
  public Map<String, Object> claims() {
    return claims.members();
  }

  /**
   * Returns true if {@code client_id} alone identifies the caller: no other trusted issuer has such clients.
   */
  public boolean clientIdIsUnique() {
    return claims.clientIdIsUnique();
  }

  Claims checked() {
    return claims;
  }

  /** Names the token only, as claims may be personal. */
  @Override
  public String toString() {
    return "VerifiedToken[issuer=" + issuer() + ", clientId=" + clientId() + ", tokenId=" + tokenId() + "]";
  }

  /** Claims of checked types. */
  record Claims(
      String issuer,
      String subject,
      String clientId,
      String tokenId,
      List<String> audiences,
      List<String> scopes,
      long expiresAt,
      long issuedAt,
      OptionalLong notBefore,
      List<Actor> actors,
      boolean clientIdIsUnique,
      Map<String, Object> members) {}
}
