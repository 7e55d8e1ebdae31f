package example.m2m.client;

import java.util.concurrent.CompletionStage;

/**
 * A source of access tokens. It makes one request per call and caches nothing: the layer renews tokens,
 * shares one request between many calls and backs off, for every source alike.
 */
@FunctionalInterface
public interface TokenSource {
  /** Obtains one token. The stage fails with a {@link SourceException} that says if a retry may help. */
  CompletionStage<IssuedToken> fetch(TokenRequest request);
}
