package example.m2m.client;

import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;

/**
 * A token from the program's configuration: for tests, and for environments whose tokens live as long as a
 * job.
 */
public final class StaticToken implements TokenSource {
  private static final Duration LIFETIME = Duration.ofDays(1);

  private final AccessToken token;

  private StaticToken(AccessToken token) {
    this.token = token;
  }

  /**
   * Takes the token in compact form.
   *
   * @throws IllegalArgumentException when it cannot be sent in a header
   */
  public static StaticToken of(String token) {
    return new StaticToken(
        AccessToken.of(token).orElseThrow(() -> new IllegalArgumentException("not an access token")));
  }

  @Override
  public CompletionStage<IssuedToken> fetch(TokenRequest request) {
    return request.subjectToken().isPresent()
        ? CompletableFuture.failedFuture(
            SourceException.refused(Refusal.REQUEST, "this source exchanges no tokens"))
        : CompletableFuture.completedFuture(new IssuedToken(token, LIFETIME, Optional.empty()));
  }
}
