package example.m2m.verify;

import example.m2m.internal.SystemTimeline;
import example.m2m.internal.Timeline;
import example.m2m.verify.Schedule.UnknownKey;
import example.m2m.verify.VerifiedToken.Claims;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/**
 * Verifies tokens of the issuers that it trusts. Safe for concurrent use; share one.
 *
 * <p>The checks, in order: size, form and algorithm, issuer, key, signature, type, claims, audience, times,
 * revocation. Before the signature is checked, a token's content only selects the issuer and the key. A
 * signature is checked once; everything that may change is checked on every call.
 */
public final class Verifier implements AutoCloseable {
  /** The longest token that is read, in bytes. */
  private static final int TOKEN_BYTES_MAX = 8 * 1024;
  private static final Duration LEEWAY_MAX = Duration.ofMinutes(10);
  private static final Duration KEY_ON_ITS_WAY = Duration.ofSeconds(1);
  /** The longest wait of a call for its key. */
  private static final Duration WAIT_MAX = Duration.ofSeconds(2);

  private final Map<String, IssuerRules> issuers;
  private final long leewaySeconds;
  private final Timeline timeline;
  private final TokenCache cache;

  private Verifier(Builder builder) {
    var built = new LinkedHashMap<String, IssuerRules>();
    for (TrustedIssuer issuer : builder.issuers) {
      boolean shared =
          builder.issuers.stream().anyMatch(other -> other != issuer && other.sharesAnAudience(issuer));
      built.put(issuer.issuer(), issuer.build(builder.timeline, issuer.namesItsClients() || !shared));
    }
    this.issuers = built;
    this.leewaySeconds = builder.leeway.toSeconds();
    this.timeline = builder.timeline;
    this.cache = new TokenCache(builder.cacheBytesMax);
  }

  /** Returns settings with no issuer, 5 seconds of leeway, and the machine's clock. */
  public static Builder builder() {
    return new Builder();
  }

  /** Settings of a {@link Verifier}. */
  public static final class Builder {
    private final List<TrustedIssuer> issuers = new ArrayList<>();
    private Duration leeway = Duration.ofSeconds(5);
    private Timeline timeline = SystemTimeline.INSTANCE;
    private long cacheBytesMax = 64L * 1024 * 1024;

    private Builder() {}

    /** Trusts one more issuer. */
    public Builder issuer(TrustedIssuer issuer) {
      if (issuers.stream().anyMatch(other -> other.issuer().equals(issuer.issuer()))) {
        throw new IllegalArgumentException(issuer.issuer() + " is named twice");
      }
      issuers.add(issuer);
      return this;
    }

    /** Sets the tolerance for differing clocks, in whole seconds; at most ten minutes. Default: 5 seconds. */
    public Builder leeway(Duration tolerance) {
      if (tolerance.isNegative() || tolerance.compareTo(LEEWAY_MAX) > 0) {
        throw new IllegalArgumentException("the leeway must be ten minutes at most");
      }
      leeway = tolerance;
      return this;
    }

    /** Bounds the memory for verified tokens, in bytes; 0 verifies every token anew. Default: 64 MiB. */
    public Builder cacheBytesMax(long bytes) {
      cacheBytesMax = bytes;
      return this;
    }

    /** Replaces the machine's clocks, for tests. */
    public Builder timeline(Timeline replacement) {
      timeline = replacement;
      return this;
    }

    /**
     * Builds the verifier, which begins to fetch keys. An unreachable issuer is no error, and is asked again.
     *
     * @throws IllegalStateException when no issuer is trusted
     */
    public Verifier build() {
      if (issuers.isEmpty()) {
        throw new IllegalStateException("no issuer is trusted, so every token would be refused");
      }
      return new Verifier(this);
    }
  }

  /** Returns the time of day, by this verifier's clock. */
  public Instant now() {
    return timeline.wall();
  }

  /** Returns the clocks of this verifier. */
  public Timeline timeline() {
    return timeline;
  }

  /** Returns the tolerance for differing clocks. */
  public Duration leeway() {
    return Duration.ofSeconds(leewaySeconds);
  }

  /** Returns true if {@code client_id} alone identifies the caller, in tokens for {@code audience}. */
  public boolean clientIdsAreUnique(String audience) {
    return issuers.values().stream()
        .filter(issuer -> issuer.audiences().isEmpty() || issuer.audiences().get().contains(audience))
        .allMatch(IssuerRules::clientIdsAreUnique);
  }

  /**
   * A verdict on a token.
   *
   * @param token the token, if it is valid
   * @param refusal the reason that it is not
   * @param news completes when the key that the token needs may have arrived
   */
  public record Verdict(
      Optional<VerifiedToken> token, Optional<VerifyException> refusal, Optional<CompletableFuture<Void>> news) {}

  /**
   * Verifies {@code token} for {@code audience} now. It never waits: the verdict may be that a key is on its
   * way.
   */
  public Verdict attempt(String token, String audience) {
    Instant now = now();
    try {
      TokenCache.Entry seen = cache.find(token);
      if (seen != null && isStillValid(seen, audience, now)) {
        return valid(seen.token());
      }
      TokenCache.Entry entry = verify(token, audience, now);
      cache.hold(token, entry);
      return valid(entry.token());
    } catch (VerifyException refused) {
      if (!refused.isTransient() && refused.fault() != Fault.AUDIENCE_MISMATCH) {
        cache.drop(token);
      }
      return new Verdict(Optional.empty(), Optional.of(refused), Optional.empty());
    } catch (KeyOnItsWay wait) {
      return new Verdict(Optional.empty(), Optional.empty(), Optional.of(bounded(wait.news)));
    }
  }

  /**
   * Verifies {@code token} for {@code audience} now, and waits a few seconds for a key that is on its way.
   *
   * @throws VerifyException when a check fails, or cannot be made at the moment
   */
  public VerifiedToken verify(String token, String audience) throws VerifyException {
    for (int fetches = 0; fetches < 2; fetches++) {
      Verdict verdict = attempt(token, audience);
      if (verdict.news().isEmpty()) {
        return settled(verdict);
      }
      verdict.news().get().join();
    }
    return settled(attempt(token, audience));
  }

  private static VerifiedToken settled(Verdict verdict) throws VerifyException {
    if (verdict.token().isPresent()) {
      return verdict.token().get();
    }
    throw verdict.refusal().orElse(keyIsLate());
  }

  /** Returns the refusal of a call that has waited long enough for its key. */
  public static VerifyException keyIsLate() {
    return VerifyException.unavailable(KEY_ON_ITS_WAY);
  }

  /**
   * Checks again a token that was valid before, in a call that goes on.
   *
   * @throws VerifyException when the call has to end. An unreachable issuer ends no call.
   */
  public void checkAgain(String token, String audience) throws VerifyException {
    Verdict verdict = attempt(token, audience);
    if (verdict.refusal().isPresent() && !verdict.refusal().get().isTransient()) {
      throw verdict.refusal().get();
    }
  }

  private static Verdict valid(VerifiedToken token) {
    return new Verdict(Optional.of(token), Optional.empty(), Optional.empty());
  }

  private CompletableFuture<Void> bounded(CompletableFuture<Void> news) {
    var bounded = news.copy();
    Runnable alarm = timeline.after(WAIT_MAX, () -> bounded.complete(null));
    bounded.whenComplete((nothing, error) -> alarm.run());
    return bounded;
  }

  /** Makes every check, from top to bottom. */
  private TokenCache.Entry verify(String token, String audience, Instant now) throws VerifyException, KeyOnItsWay {
    if (token.length() > TOKEN_BYTES_MAX) {
      throw new VerifyException(Fault.TOO_LARGE, "the token has more than " + TOKEN_BYTES_MAX + " bytes");
    }
    Jws jws = Jws.parse(token);
    IssuerRules issuer = issuers.get(ClaimsReader.text(jws.claims(), "iss"));
    if (issuer == null) {
      throw new VerifyException(Fault.ISSUER_UNKNOWN, "iss is not one of " + issuers.keySet());
    }
    issuer.checkAlgorithm(jws.algorithm());
    issuer.checkFresh(now);
    // Read before the keys and the revocations, so that a later change is noticed next time.
    CompletableFuture<Void> news = issuer.keys().news();
    long keyVersion = issuer.keys().version();
    long revocationVersion = issuer.revocationVersion();
    VerifyingKey key = signedBy(issuer, jws, news);
    issuer.checkType(jws.tokenType());
    Claims claims = new ClaimsReader(jws.claims()).read(issuer.issuer(), issuer.clientIdsAreUnique());
    issuer.checkClient(claims);
    issuer.checkAudience(claims, audience);
    checkTimes(claims, now);
    var verified = new VerifiedToken(claims);
    issuer.checkRevoked(verified);
    return new TokenCache.Entry(verified, issuer, key, keyVersion, revocationVersion);
  }

  /** Checks everything that may have changed. Returns false if the token has to be verified anew. */
  private boolean isStillValid(TokenCache.Entry seen, String audience, Instant now) throws VerifyException {
    IssuerRules issuer = seen.issuer();
    issuer.checkFresh(now);
    long keyVersion = issuer.keys().version();
    if (seen.keyVersion() != keyVersion) {
      if (!issuer.keys().keys().map(keys -> keys.holds(seen.key())).orElse(false)) {
        return false;
      }
      seen.keyVersion(keyVersion);
    }
    issuer.checkAudience(seen.token().checked(), audience);
    checkTimes(seen.token().checked(), now);
    long revocationVersion = issuer.revocationVersion();
    if (seen.revocationVersion() != revocationVersion) {
      issuer.checkRevoked(seen.token());
      seen.revocationVersion(revocationVersion);
    }
    return true;
  }

  private static VerifyingKey signedBy(IssuerRules issuer, Jws jws, CompletableFuture<Void> news)
      throws VerifyException, KeyOnItsWay {
    Optional<KeySet> keys = issuer.keys().keys();
    List<VerifyingKey> candidates =
        keys.map(set -> set.candidates(jws.keyId(), jws.algorithm())).orElse(List.of());
    for (VerifyingKey candidate : candidates) {
      if (candidate.verifies(jws.signed(), jws.signature())) {
        return candidate;
      }
    }
    boolean known = jws.keyId().isPresent() && keys.map(set -> set.knows(jws.keyId().get())).orElse(false);
    if (known && candidates.isEmpty()) {
      throw new VerifyException(Fault.ALGORITHM_NOT_ALLOWED, "alg is not the one of the key that kid names");
    }
    // Without a key ID, only the signature tells a key that is not held yet from a forgery.
    if (known) {
      throw new VerifyException(Fault.SIGNATURE_INVALID, "the key that kid names did not sign it");
    }
    UnknownKey unknown = issuer.keys().unknownKey();
    if (unknown instanceof UnknownKey.Unavailable unavailable) {
      throw VerifyException.unavailable(unavailable.retryAfter());
    }
    if (unknown instanceof UnknownKey.Refuse) {
      throw candidates.isEmpty()
          ? new VerifyException(Fault.KEY_UNKNOWN, "the issuer publishes no such key")
          : new VerifyException(Fault.SIGNATURE_INVALID, "no key of the issuer signed it");
    }
    throw new KeyOnItsWay(news);
  }

  /** RFC 7519 sections 4.1.4 to 4.1.6. */
  private void checkTimes(Claims claims, Instant now) throws VerifyException {
    long seconds = Math.max(0, now.getEpochSecond());
    if (seconds >= claims.expiresAt() + leewaySeconds) {
      throw new VerifyException(Fault.EXPIRED, "exp is " + claims.expiresAt() + ", now is " + seconds);
    }
    if (claims.notBefore().orElse(0) > seconds + leewaySeconds) {
      throw new VerifyException(Fault.NOT_YET_VALID, "nbf is in the future, now is " + seconds);
    }
    // RFC 7519 does not demand it, but no honest issuer writes such a time.
    if (claims.issuedAt() > seconds + leewaySeconds) {
      throw new VerifyException(Fault.ISSUED_IN_FUTURE, "iat is " + claims.issuedAt() + ", now is " + seconds);
    }
  }

  /** Stops asking the issuers. */
  @Override
  public void close() {
    issuers.values().forEach(issuer -> issuer.keys().close());
  }

  /** The token's key is not held yet, and a fetch that may bring it is in flight. */
  private static final class KeyOnItsWay extends Exception {
    private static final long serialVersionUID = 1;

    private final transient CompletableFuture<Void> news;

    KeyOnItsWay(CompletableFuture<Void> news) {
      super(null, null, false, false);
      this.news = news;
    }
  }
}
