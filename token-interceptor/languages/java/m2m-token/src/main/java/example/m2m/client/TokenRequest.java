package example.m2m.client;

import java.time.Duration;
import java.util.Objects;
import java.util.Optional;
import java.util.SortedSet;
import java.util.TreeSet;

/** A request for a token. Equal requests share one token. */
public final class TokenRequest {
  private final Optional<String> audience;
  private final SortedSet<String> scopes;
  private final Optional<Duration> maxAge;
  private final Optional<String> subjectToken;

  private TokenRequest(
      Optional<String> audience,
      SortedSet<String> scopes,
      Optional<Duration> maxAge,
      Optional<String> subjectToken) {
    this.audience = audience;
    this.scopes = scopes;
    this.maxAge = maxAge;
    this.subjectToken = subjectToken;
  }

  /** Requests a token for one resource server (RFC 8707), with these scopes or the issuer's default ones. */
  public static TokenRequest forAudience(String audience, String... scopes) {
    return new TokenRequest(
        Optional.of(audience), new TreeSet<>(java.util.List.of(scopes)), Optional.empty(), Optional.empty());
  }

  /** Replaces the token before it is older than this, even if it is valid for longer. */
  public TokenRequest withMaxAge(Optional<Duration> age) {
    return new TokenRequest(audience, scopes, age, subjectToken);
  }

  /** Requests a token for the subject of {@code token}, in exchange for it (RFC 8693). */
  public TokenRequest onBehalfOf(String token) {
    return new TokenRequest(audience, scopes, maxAge, Optional.of(token));
  }

  /** Returns the union of both requests, for the audience of this one. */
  TokenRequest union(TokenRequest other) {
    var union = new TreeSet<>(scopes);
    union.addAll(other.scopes);
    Optional<Duration> age = maxAge;
    if (age.isEmpty() || other.maxAge.isPresent() && other.maxAge.get().compareTo(age.get()) < 0) {
      age = other.maxAge.isPresent() ? other.maxAge : age;
    }
    return new TokenRequest(audience, union, age, subjectToken);
  }

  /** Returns the resource server that the token is for; none for the issuer's default. */
  public Optional<String> audience() {
    return audience;
  }

  /** Returns the requested scopes, sorted; none for the issuer's default. */
  public SortedSet<String> scopes() {
    return new TreeSet<>(scopes);
  }

  /** Returns the scopes in the form of RFC 6749 section 3.3. */
  public String scopeParameter() {
    return String.join(" ", scopes);
  }

  /** Returns the maximum age of the token. */
  public Optional<Duration> maxAge() {
    return maxAge;
  }

  /** Returns the token of the caller on whose behalf the request is. It is a secret. */
  public Optional<String> subjectToken() {
    return subjectToken;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof TokenRequest request
        && request.audience.equals(audience)
        && request.scopes.equals(scopes)
        && request.maxAge.equals(maxAge)
        && request.subjectToken.equals(subjectToken);
  }

  @Override
  public int hashCode() {
    return Objects.hash(audience, scopes, maxAge, subjectToken);
  }

  /** The form in errors and logs, without the token of a caller. */
  @Override
  public String toString() {
    String where = audience.map(name -> "audience \"" + name + '"').orElse("the default audience");
    String what = scopes.isEmpty() ? ", default scopes" : ", scopes \"" + scopeParameter() + '"';
    return where + what + (subjectToken.isPresent() ? ", on behalf of a caller" : "");
  }
}
