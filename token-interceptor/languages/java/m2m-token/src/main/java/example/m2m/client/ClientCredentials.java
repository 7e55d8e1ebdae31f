package example.m2m.client;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;

/** Tokens for the client itself, by its own credential: RFC 6749 section 4.4. */
public final class ClientCredentials implements TokenSource {
  private final String clientId;
  private final ClientCredential credential;
  private final Issuer issuer;

  private ClientCredentials(String clientId, ClientCredential credential, Issuer issuer) {
    this.clientId = clientId;
    this.credential = credential;
    this.issuer = issuer;
  }

  /** Returns tokens of this client from this issuer. */
  public static ClientCredentials of(String clientId, ClientCredential credential, Issuer issuer) {
    return new ClientCredentials(clientId, credential, issuer);
  }

  /** Returns tokens of a client with a secret. */
  public static ClientCredentials secret(String clientId, String secret, Issuer issuer) {
    return of(clientId, ClientCredential.secret(secret), issuer);
  }

  @Override
  public CompletionStage<IssuedToken> fetch(TokenRequest request) {
    if (request.subjectToken().isPresent()) {
      // Its own token would give a caller this program's rights.
      return CompletableFuture.failedFuture(
          SourceException.refused(Refusal.REQUEST, "this source exchanges no tokens"));
    }
    return issuer.obtain(Issuer.Grant.CLIENT_CREDENTIALS, clientId, credential, request);
  }
}
