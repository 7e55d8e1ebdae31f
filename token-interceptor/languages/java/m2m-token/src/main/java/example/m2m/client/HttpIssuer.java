package example.m2m.client;

import example.m2m.internal.HttpAnswer;
import example.m2m.internal.HttpTransport;
import example.m2m.internal.IssuerMetadata;
import example.m2m.internal.Json;
import example.m2m.internal.JsonException;
import example.m2m.internal.Timeline;
import java.net.URI;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.stream.Collectors;

/** Tokens from any OAuth 2.0 token endpoint: RFC 6749 section 4.4, RFC 8414. */
final class HttpIssuer extends Issuer {
  /** The age at which metadata are read again: an endpoint may move while the old one still answers. */
  private static final Duration METADATA_AGE_MAX = Duration.ofHours(1);
  private static final String EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
  private static final String ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
  private static final int OK = 200;

  private final HttpTransport http;
  private final AudienceParameter audienceParameter;
  private final Timeline timeline;
  private final Optional<String> issuer;
  private volatile Endpoint known;

  /**
   * A token endpoint.
   *
   * @param secretInForm true if a secret goes into the form
   * @param readAt the monotonic time at which the metadata were read
   */
  private record Endpoint(URI url, boolean secretInForm, long readAt) {}

  private HttpIssuer(
      HttpTransport http, AudienceParameter audience, Timeline timeline, Optional<String> issuer) {
    this.http = http;
    this.audienceParameter = audience;
    this.timeline = timeline;
    this.issuer = issuer;
  }

  static HttpIssuer discovered(
      HttpTransport http, String issuer, AudienceParameter audience, Timeline timeline) {
    http.check(IssuerMetadata.of(issuer).oauth());
    return new HttpIssuer(http, audience, timeline, Optional.of(issuer));
  }

  static HttpIssuer at(HttpTransport http, URI endpoint, AudienceParameter audience, Timeline timeline) {
    http.check(endpoint);
    var known = new HttpIssuer(http, audience, timeline, Optional.empty());
    known.known = new Endpoint(endpoint, false, timeline.nanos());
    return known;
  }

  @Override
  CompletionStage<IssuedToken> obtain(
      Grant grant, String clientId, ClientCredential credential, TokenRequest request) {
    return endpoint().thenCompose(endpoint -> ask(endpoint, form(grant, request), clientId, credential));
  }

  private Map<String, String> form(Grant grant, TokenRequest request) {
    var form = new LinkedHashMap<String, String>();
    if (grant == Grant.CLIENT_CREDENTIALS) {
      form.put("grant_type", "client_credentials");
    } else {
      form.put("grant_type", EXCHANGE);
      form.put("subject_token", request.subjectToken().orElse(""));
      form.put("subject_token_type", ACCESS_TOKEN);
    }
    if (request.audience().isPresent() && audienceParameter != AudienceParameter.OMITTED) {
      String name = audienceParameter == AudienceParameter.RESOURCE ? "resource" : "audience";
      form.put(name, request.audience().get());
    }
    if (!request.scopes().isEmpty()) {
      form.put("scope", request.scopeParameter());
    }
    return form;
  }

  private CompletionStage<IssuedToken> ask(
      Endpoint endpoint, Map<String, String> form, String clientId, ClientCredential credential) {
    Optional<String> authorization;
    try {
      authorization = credential.forHttp(clientId, endpoint.secretInForm, form);
    } catch (SourceException failed) {
      return CompletableFuture.failedFuture(failed);
    }
    String body =
        form.entrySet().stream()
            .map(field -> encode(field.getKey()) + "=" + encode(field.getValue()))
            .collect(Collectors.joining("&"));
    return http.post(endpoint.url, body, authorization).handle((answer, error) -> read(endpoint, answer, error));
  }

  private IssuedToken read(Endpoint asked, HttpAnswer answer, Throwable error) {
    try {
      if (error != null) {
        throw SourceException.unavailable("the token endpoint cannot be reached", unwrapped(error));
      }
      if (!TokenEndpointAnswer.isOfTokenEndpoint(answer)) {
        forget(asked);
      }
      return TokenEndpointAnswer.read(answer, timeline.wall());
    } catch (SourceException failed) {
      if (failed.isTransient()) {
        forget(asked);
      }
      throw new CompletionException(failed);
    }
  }

  /** The endpoint may have moved, so the next request reads the metadata again. */
  private void forget(Endpoint asked) {
    if (issuer.isPresent() && known == asked) {
      known = null;
    }
  }

  private CompletionStage<Endpoint> endpoint() {
    Endpoint current = known;
    boolean fresh =
        current != null
            && (issuer.isEmpty() || timeline.nanos() - current.readAt < METADATA_AGE_MAX.toNanos());
    if (fresh) {
      return CompletableFuture.completedFuture(current);
    }
    IssuerMetadata documents = IssuerMetadata.of(issuer.orElseThrow());
    return metadata(documents.oauth())
        .exceptionallyCompose(first -> metadata(documents.openid()))
        .thenApply(
            found -> {
              known = found;
              return found;
            })
        .exceptionally(
            failed -> {
              // The old endpoint may still be there.
              if (current != null) {
                return current;
              }
              throw new CompletionException(unwrapped(failed));
            });
  }

  private CompletionStage<Endpoint> metadata(URI document) {
    return http.get(document)
        .handle(
            (answer, error) -> {
              try {
                if (error != null) {
                  throw SourceException.unavailable("the metadata cannot be fetched", unwrapped(error));
                }
                return read(document, answer);
              } catch (SourceException failed) {
                throw new CompletionException(failed);
              }
            });
  }

  private Endpoint read(URI document, HttpAnswer answer) throws SourceException {
    if (answer.status() != OK) {
      throw unavailable(document + " answered " + answer.status());
    }
    Map<String, Object> members;
    try {
      members = Json.object(answer.body());
    } catch (JsonException malformed) {
      throw unavailable(document + " is no JSON object");
    }
    // RFC 8414 section 3.3: another issuer's metadata would send this client's credentials to another's
    // endpoint.
    if (!issuer.orElseThrow().equals(members.get("issuer"))) {
      throw unavailable(document + " is about another issuer");
    }
    return new Endpoint(tokenEndpoint(document, members), secretInForm(members), timeline.nanos());
  }

  /** An issuer that is reached over TLS has no reason to receive secrets in plaintext. */
  private URI tokenEndpoint(URI document, Map<String, Object> members) throws SourceException {
    try {
      URI url = URI.create(members.get("token_endpoint") instanceof String text ? text : "");
      http.check(url);
      if ("https".equals(url.getScheme()) || "http".equals(document.getScheme())) {
        return url;
      }
    } catch (IllegalArgumentException unusable) {
      throw unavailable(document + " names no usable token endpoint");
    }
    throw unavailable(document + " names no usable token endpoint");
  }

  /** RFC 8414 section 2: the default is {@code client_secret_basic}. */
  private static boolean secretInForm(Map<String, Object> members) {
    return members.get("token_endpoint_auth_methods_supported") instanceof List<?> methods
        && methods.contains("client_secret_post")
        && !methods.contains("client_secret_basic");
  }

  private static SourceException unavailable(String message) {
    return SourceException.unavailable(message, Cause.ANSWER);
  }

  private static Throwable unwrapped(Throwable error) {
    return error instanceof CompletionException && error.getCause() != null ? error.getCause() : error;
  }

  private static String encode(String text) {
    return URLEncoder.encode(text, StandardCharsets.UTF_8);
  }
}
