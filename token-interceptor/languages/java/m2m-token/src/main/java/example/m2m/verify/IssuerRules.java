package example.m2m.verify;

import example.m2m.policy.Requirement;
import example.m2m.verify.VerifiedToken.Claims;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/** The rules for the tokens of one trusted issuer, with its keys. */
record IssuerRules(
    String issuer,
    KeySource keys,
    Optional<Set<String>> audiences,
    Optional<List<String>> clients,
    Set<Algorithm> algorithms,
    Set<String> tokenTypes,
    Revocations revocations,
    boolean clientIdsAreUnique) {
  /** The retry delay of a caller when keys or pushed trust are too old. */
  private static final Duration RETRY_AFTER_STALE = Duration.ofSeconds(5);
  private static final String MEDIA_TYPE = "application/";

  void checkAlgorithm(Algorithm algorithm) throws VerifyException {
    require(algorithms.contains(algorithm), Fault.ALGORITHM_NOT_ALLOWED, "alg is not allowed for this issuer");
  }

  void checkFresh(Instant now) throws VerifyException {
    if (keys.isStale(now)) {
      throw VerifyException.unavailable(RETRY_AFTER_STALE);
    }
  }

  /** RFC 7515 section 4.1.9: a media type in any case, {@code application/} left out or not. */
  void checkType(Optional<String> tokenType) throws VerifyException {
    String type = tokenType.orElse("");
    boolean prefixed = type.regionMatches(true, 0, MEDIA_TYPE, 0, MEDIA_TYPE.length());
    String name = prefixed ? type.substring(MEDIA_TYPE.length()) : type;
    boolean accepted = !name.isEmpty() && tokenTypes.stream().anyMatch(name::equalsIgnoreCase);
    require(accepted, Fault.TYPE_NOT_ALLOWED, "typ is not one of " + tokenTypes);
  }

  void checkClient(Claims claims) throws VerifyException {
    boolean trusted =
        clients.isEmpty()
            || clients.get().stream().anyMatch(pattern -> Requirement.matches(pattern, claims.clientId()));
    require(trusted, Fault.CLIENT_NOT_TRUSTED, "client_id is not one of this issuer's");
  }

  void checkAudience(Claims claims, String audience) throws VerifyException {
    boolean allowed = audiences.isEmpty() || audiences.get().contains(audience);
    require(
        allowed && claims.audiences().contains(audience),
        Fault.AUDIENCE_MISMATCH,
        "aud is not " + audience + ", or the issuer is not trusted for it");
  }

  void checkRevoked(VerifiedToken token) throws VerifyException {
    boolean pushed = keys.revocations().map(set -> set.revokes(token)).orElse(false);
    require(!pushed && !revocations.revokes(token), Fault.REVOKED, "the token " + token.tokenId() + " is revoked");
  }

  /** Returns a version that changes with every revocation. */
  long revocationVersion() {
    return revocations.version() + keys.revocations().map(Revocations::version).orElse(0L);
  }

  private static void require(boolean holds, Fault fault, String detail) throws VerifyException {
    if (!holds) {
      throw new VerifyException(fault, detail);
    }
  }
}
