package example.m2m.client;

import example.m2m.internal.Base64Url;
import example.m2m.internal.Json;
import example.m2m.internal.JsonException;
import example.m2m.internal.SystemTimeline;
import example.m2m.internal.Timeline;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;

/**
 * Tokens of a file that another program renews: a Kubernetes projected token, a file of {@code token-server
 * agent}. It follows gRFC A97. The program that writes the file has to choose audience and scopes.
 *
 * <p>The file is read at first use, again one minute before its token ends (30 s before {@code exp}), and
 * again when a callee refuses the token. The token is not verified: the callee does that.
 */
public final class TokenFile implements TokenSource {
  /** The time before {@code exp} at which the token counts as expired. */
  private static final Duration EARLY = Duration.ofSeconds(30);
  /** The time before that at which the file is read again. */
  private static final Duration REREAD = Duration.ofSeconds(60);
  /** The remaining lifetime below which a token counts as expired. */
  private static final Duration REST_MIN = Duration.ofSeconds(2);
  private static final int FILE_BYTES_MAX = 64 * 1024;

  private final Path path;
  private final Timeline timeline;

  private TokenFile(Path path, Timeline timeline) {
    this.path = path;
    this.timeline = timeline;
  }

  /** Returns the tokens of the file at {@code path}, which need not exist yet. */
  public static TokenFile at(Path path) {
    return at(path, SystemTimeline.INSTANCE);
  }

  /** Returns the tokens of the file at {@code path}, by these clocks, for tests. */
  public static TokenFile at(Path path, Timeline timeline) {
    return new TokenFile(path, timeline);
  }

  @Override
  public CompletionStage<IssuedToken> fetch(TokenRequest request) {
    if (request.subjectToken().isPresent()) {
      return CompletableFuture.failedFuture(
          SourceException.refused(Refusal.REQUEST, "this source exchanges no tokens"));
    }
    // Not on the thread of the call: a file may be on a slow disk.
    return CompletableFuture.supplyAsync(
        () -> {
          try {
            return token(read().strip(), timeline.wall());
          } catch (SourceException failed) {
            throw new CompletionException(failed);
          }
        });
  }

  private String read() throws SourceException {
    try (var file = Files.newInputStream(path)) {
      return new String(file.readNBytes(FILE_BYTES_MAX), StandardCharsets.UTF_8);
    } catch (IOException unreadable) {
      throw SourceException.unavailable("the token file cannot be read", unreadable);
    }
  }

  /** Text that is no token is a refusal. An expired token is an outage, as it may be renewed soon. */
  static IssuedToken token(String text, Instant now) throws SourceException {
    AccessToken token =
        AccessToken.of(text)
            .orElseThrow(() -> SourceException.refused(Refusal.TOKEN, "the token file holds no token"));
    OptionalLong expiry = expiry(text);
    if (expiry.isEmpty()) {
      throw SourceException.refused(Refusal.TOKEN, "the token in the file is not a JWT with an exp");
    }
    Duration rest = Duration.between(now, Instant.ofEpochSecond(expiry.getAsLong())).minus(EARLY);
    if (rest.compareTo(REST_MIN) < 0) {
      throw SourceException.unavailable("the token in the file has expired", Cause.ANSWER);
    }
    Optional<Duration> refreshAfter = Optional.of(rest.minus(REREAD)).filter(after -> !after.isNegative());
    return new IssuedToken(token, rest, refreshAfter);
  }

  /** {@code exp}, unverified (RFC 7519 section 4.1.4). */
  private static OptionalLong expiry(String token) {
    String[] parts = token.split("\\.", -1);
    Optional<byte[]> claims = parts.length == 3 ? Base64Url.decode(parts[1]) : Optional.empty();
    try {
      return claims.isPresent()
              && Json.object(claims.get()).get("exp") instanceof Long seconds
              && seconds >= 0
              && seconds <= 253_402_300_799L
          ? OptionalLong.of(seconds)
          : OptionalLong.empty();
    } catch (JsonException malformed) {
      return OptionalLong.empty();
    }
  }
}
