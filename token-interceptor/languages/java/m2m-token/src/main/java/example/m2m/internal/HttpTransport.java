package example.m2m.internal;

import java.net.URI;
import java.util.Optional;
import java.util.concurrent.CompletionStage;

/** The injected transport of requests over HTTP. */
public interface HttpTransport {
  /** Gets a document. */
  CompletionStage<HttpAnswer> get(URI url);

  /** Posts a form. */
  CompletionStage<HttpAnswer> post(URI url, String form, Optional<String> authorization);

  /**
   * Rejects a URL that must not be used.
   *
   * @throws IllegalArgumentException when the URL is plaintext and leads to another machine
   */
  default void check(URI url) {
    Destination.check(url);
  }
}
