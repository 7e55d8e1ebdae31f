package example.m2m.verify;

import example.m2m.internal.HttpTransport;
import example.m2m.internal.JdkHttp;
import example.m2m.internal.Timeline;
import io.grpc.Channel;
import java.net.URI;
import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;
import javax.net.ssl.SSLContext;

/**
 * An issuer whose tokens are accepted, by its exact identifier.
 *
 * <p>By default it is accepted for any audience that a policy names, with {@link Algorithm#DEFAULT}, and with
 * type {@code at+jwt}.
 */
public final class TrustedIssuer {
  private static final Duration FETCH_MAX = Duration.ofSeconds(5);
  /** A shorter interval would ask the issuer without a pause. */
  private static final Duration FRESHNESS_MIN = Duration.ofSeconds(1);
  /** The time for which pushed trust is used after its stream was lost. */
  private static final Duration STALE_AFTER = Duration.ofHours(1);

  private final String issuer;
  private final Function<Timeline, KeySource> keys;
  private Optional<SSLContext> tls = Optional.empty();
  private Duration maxAge = Duration.ofMinutes(5);
  private Duration cooldown = Duration.ofSeconds(5);
  private Optional<Duration> staleAfter = Optional.empty();
  private Optional<Set<String>> audiences = Optional.empty();
  private Optional<List<String>> clients = Optional.empty();
  private Set<Algorithm> algorithms = Algorithm.DEFAULT;
  private Set<String> tokenTypes = Set.of("at+jwt");
  private Revocations revocations = new Revocations();

  private TrustedIssuer(String issuer, Function<TrustedIssuer, Function<Timeline, KeySource>> keys) {
    if (issuer.isEmpty()) {
      throw new IllegalArgumentException("the issuer identifier is empty");
    }
    this.issuer = issuer;
    this.keys = keys.apply(this);
  }

  /**
   * Finds an issuer by its metadata: OpenID Connect Discovery, or RFC 8414.
   *
   * @param issuer its identifier, an {@code https} URL, compared byte for byte with the {@code iss} of every
   *     token
   */
  public static TrustedIssuer discover(String issuer) {
    return new TrustedIssuer(
        issuer, self -> timeline -> self.remote(new FromDiscovery(self.http(), issuer), timeline));
  }

  /** Trusts an issuer whose JWK Set is at {@code url}. */
  public static TrustedIssuer jwks(String issuer, URI url) {
    return new TrustedIssuer(
        issuer, self -> timeline -> self.remote(FromDiscovery.at(self.http(), url), timeline));
  }

  /**
   * Trusts a token server that pushes its keys and revocations: {@code m2m.token.v1.TrustService.WatchTrust}.
   * A new key arrives before its first use, and a revocation is enforced within a second.
   */
  public static TrustedIssuer watch(String issuer, Channel server) {
    return new TrustedIssuer(
        issuer,
        self ->
            timeline ->
                new PushedTrust(issuer, server, self.staleAfter.orElse(STALE_AFTER), timeline).started());
  }

  /** Trusts an issuer with keys that do not change. */
  public static TrustedIssuer fixed(String issuer, KeySet keySet) {
    return new TrustedIssuer(issuer, self -> timeline -> KeySource.fixed(keySet));
  }

  /** Trusts an issuer whose keys a program fetches by itself. */
  public static TrustedIssuer fetched(String issuer, KeyFetcher fetcher) {
    return new TrustedIssuer(issuer, self -> timeline -> self.remote(fetcher, timeline));
  }

  /** Accepts its tokens for these audiences only, even if a method's policy names others. */
  public TrustedIssuer audiences(String... names) {
    audiences = Optional.of(Set.of(names));
    return this;
  }

  /**
   * Accepts its tokens for these clients only: client IDs, or prefixes and a final {@code *}.
   *
   * <p>A client ID is unique only within its issuer (RFC 9068 section 4). Where several trusted issuers share
   * an audience, a policy that names {@code callers} admits only clients of issuers with this setting.
   */
  public TrustedIssuer clients(String... patterns) {
    for (String pattern : patterns) {
      int star = pattern.indexOf('*');
      if (pattern.isEmpty() || pattern.indexOf(' ') >= 0 || star >= 0 && star < pattern.length() - 1) {
        throw new IllegalArgumentException(pattern + " must be a client ID, or a prefix and one final \"*\"");
      }
    }
    clients = Optional.of(List.of(patterns));
    return this;
  }

  /** Accepts these algorithms only, in place of {@link Algorithm#DEFAULT}. */
  public TrustedIssuer algorithms(Collection<Algorithm> accepted) {
    algorithms = Set.copyOf(accepted);
    return this;
  }

  /**
   * Accepts this {@code typ} beside {@code at+jwt}, for an issuer that does not follow RFC 9068 section 2.1.
   * Make sure that nothing else that the issuer signs, such as an ID token, can pass for an access token.
   */
  public TrustedIssuer alsoAcceptType(String tokenType) {
    tokenTypes = Set.of("at+jwt", tokenType);
    return this;
  }

  /** Trusts these roots for connections to the issuer, in place of the JDK's own. */
  public TrustedIssuer tls(SSLContext context) {
    tls = Optional.of(context);
    return this;
  }

  /** Sets the age at which the key set is fetched again: a second at least. Default: 5 minutes. */
  public TrustedIssuer maxAge(Duration age) {
    maxAge = atLeastASecond(age);
    return this;
  }

  /**
   * Sets the minimum interval between fetches that unknown keys cause: a second at least. Default: 5 seconds.
   */
  public TrustedIssuer cooldown(Duration interval) {
    cooldown = atLeastASecond(interval);
    return this;
  }

  /**
   * Rejects every token once the issuer was unreachable for this long. For {@link #watch} the default is one
   * hour, as revocations may have been missed. A fetched key set has no limit by default.
   */
  public TrustedIssuer staleAfter(Duration age) {
    staleAfter = Optional.of(age);
    return this;
  }

  /** Rejects the tokens in {@code revoked}, in addition to those that the issuer pushes. */
  public TrustedIssuer revocations(Revocations revoked) {
    revocations = revoked;
    return this;
  }

  private static Duration atLeastASecond(Duration duration) {
    if (duration.compareTo(FRESHNESS_MIN) < 0) {
      throw new IllegalArgumentException("must be a second at least");
    }
    return duration;
  }

  private HttpTransport http() {
    return new JdkHttp(tls, FETCH_MAX);
  }

  private KeySource remote(KeyFetcher fetcher, Timeline timeline) {
    var freshness = new RemoteKeySet.Freshness(maxAge, cooldown, staleAfter);
    return new RemoteKeySet(issuer, fetcher, freshness, timeline).started();
  }

  String issuer() {
    return issuer;
  }

  Optional<Set<String>> audiences() {
    return audiences;
  }

  boolean namesItsClients() {
    return clients.isPresent();
  }

  /** Returns true if both may issue tokens for one audience. */
  boolean sharesAnAudience(TrustedIssuer other) {
    return audiences.isEmpty()
        || other.audiences.isEmpty()
        || audiences.get().stream().anyMatch(other.audiences.get()::contains);
  }

  /** Returns the rules for its tokens, and begins to obtain its keys. */
  IssuerRules build(Timeline timeline, boolean clientIdsAreUnique) {
    return new IssuerRules(
        issuer,
        keys.apply(timeline),
        audiences,
        clients,
        algorithms,
        tokenTypes,
        revocations,
        clientIdsAreUnique);
  }
}
