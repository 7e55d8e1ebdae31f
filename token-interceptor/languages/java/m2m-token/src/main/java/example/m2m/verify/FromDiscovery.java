package example.m2m.verify;

import example.m2m.internal.HttpAnswer;
import example.m2m.internal.HttpTransport;
import example.m2m.internal.IssuerMetadata;
import example.m2m.internal.Json;
import example.m2m.internal.JsonException;
import java.io.IOException;
import java.net.URI;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;

/**
 * A JWK Set at the URL in the issuer's metadata (OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3),
 * or at a known URL. The metadata are read each time, as the URL may change.
 */
final class FromDiscovery implements KeyFetcher {
  private static final int OK = 200;

  private final HttpTransport http;
  private final String issuer;
  private final IssuerMetadata documents;

  FromDiscovery(HttpTransport http, String issuer) {
    this.http = http;
    this.issuer = issuer;
    this.documents = IssuerMetadata.of(issuer);
    http.check(documents.openid());
  }

  /** Returns a fetcher of the set at a known URL. */
  static KeyFetcher at(HttpTransport http, URI url) {
    http.check(url);
    return () -> keySet(http, url);
  }

  @Override
  public CompletionStage<KeySet> fetch() {
    // One of the two documents is enough. If both fail, the first error says more.
    return keysUrl(documents.openid())
        .exceptionallyCompose(
            first -> keysUrl(documents.oauth()).exceptionally(second -> throwing(first)))
        .thenCompose(url -> keySet(http, url));
  }

  private static URI throwing(Throwable error) {
    throw new CompletionException(error);
  }

  private CompletionStage<URI> keysUrl(URI document) {
    return http.get(document).thenApply(answer -> read(document, body(document, answer)));
  }

  private URI read(URI document, byte[] body) {
    Map<String, String> members = texts(document, body);
    // RFC 8414 section 3.3: the two must be identical, or an attacker could speak for the issuer.
    if (!issuer.equals(members.get("issuer"))) {
      throw failed(document + " is about another issuer");
    }
    URI url = URI.create(members.getOrDefault("jwks_uri", ""));
    if ("https".equals(document.getScheme()) && !"https".equals(url.getScheme())) {
      throw failed(document + " names a jwks_uri that must not be used");
    }
    http.check(url);
    return url;
  }

  private static Map<String, String> texts(URI document, byte[] body) {
    var texts = new HashMap<String, String>();
    try {
      Json.members(
          body,
          (name, json) -> {
            boolean matters = name.equals("issuer") || name.equals("jwks_uri");
            if (matters && texts.put(name, Json.text(json)) != null) {
              throw new JsonException("a member occurs twice");
            }
          });
    } catch (JsonException malformed) {
      throw failed(document + " is not JSON of the expected form");
    }
    return texts;
  }

  private static CompletionStage<KeySet> keySet(HttpTransport http, URI url) {
    return http.get(url).thenApply(answer -> KeySet.ofJwkSet(body(url, answer)));
  }

  /** A redirect is not followed, and is an error. */
  private static byte[] body(URI url, HttpAnswer answer) {
    if (answer.status() != OK) {
      throw failed(url + " answers with status " + answer.status());
    }
    return answer.body();
  }

  private static CompletionException failed(String message) {
    return new CompletionException(new IOException(message));
  }
}
