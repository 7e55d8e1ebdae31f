package example.m2m.client;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;

/**
 * Tokens in exchange for those of the callers whom the program serves: RFC 8693. The caller stays the
 * subject, this client becomes the actor, and rights only narrow. For {@link
 * Tokens.Builder#onBehalfOfCaller}.
 */
public final class TokenExchange implements TokenSource {
  private final String clientId;
  private final ClientCredential credential;
  private final Issuer issuer;

  private TokenExchange(String clientId, ClientCredential credential, Issuer issuer) {
    this.clientId = clientId;
    this.credential = credential;
    this.issuer = issuer;
  }

  /** Returns tokens that this client exchanges at this issuer. */
  public static TokenExchange of(String clientId, ClientCredential credential, Issuer issuer) {
    return new TokenExchange(clientId, credential, issuer);
  }

  @Override
  public CompletionStage<IssuedToken> fetch(TokenRequest request) {
    if (request.subjectToken().isEmpty()) {
      return CompletableFuture.failedFuture(
          SourceException.refused(Refusal.REQUEST, "there is no token to exchange"));
    }
    return issuer.obtain(Issuer.Grant.TOKEN_EXCHANGE, clientId, credential, request);
  }
}
