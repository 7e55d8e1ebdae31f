package example.m2m.client;

import example.m2m.internal.Destination;
import example.m2m.internal.HttpTransport;
import example.m2m.internal.JdkHttp;
import example.m2m.internal.SystemTimeline;
import example.m2m.internal.Timeline;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import java.net.URI;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.CompletionStage;
import javax.net.ssl.SSLContext;

/** An issuer of access tokens: this project's over gRPC, or any OAuth server over HTTP. */
public abstract class Issuer {
  /** An attempt of the layer ends before a request does, so that its failure is told as what it is. */
  private static final Duration HTTP_MAX = Duration.ofSeconds(31);

  Issuer() {}

  /** The grant of a request. */
  enum Grant {
    /** RFC 6749 section 4.4. */
    CLIENT_CREDENTIALS,
    /** RFC 8693 section 2.1. */
    TOKEN_EXCHANGE
  }

  /** The parameter that names an audience in a form. */
  public enum AudienceParameter {
    /** {@code audience}: this project's issuer, Auth0, RFC 8693. */
    AUDIENCE,
    /** {@code resource}: RFC 8707. */
    RESOURCE,
    /** None: the server derives it from the scopes, or has only one audience. */
    OMITTED
  }

  /**
   * An OAuth server that is found by its metadata: RFC 8414, or OpenID Connect Discovery.
   *
   * @param issuer the issuer's identifier, an {@code https} URL
   */
  public static Issuer http(String issuer) {
    return http(issuer, Optional.empty(), AudienceParameter.AUDIENCE);
  }

  /**
   * An OAuth server that is found by its metadata, over connections that trust the roots of {@code tls}
   * alone.
   *
   * @param issuer the issuer's identifier, an {@code https} URL
   */
  public static Issuer http(String issuer, Optional<SSLContext> tls, AudienceParameter audience) {
    return HttpIssuer.discovered(new JdkHttp(tls, HTTP_MAX), issuer, audience, SystemTimeline.INSTANCE);
  }

  /** An OAuth server whose token endpoint is known. */
  public static Issuer tokenEndpoint(URI endpoint, Optional<SSLContext> tls, AudienceParameter audience) {
    return HttpIssuer.at(new JdkHttp(tls, HTTP_MAX), endpoint, audience, SystemTimeline.INSTANCE);
  }

  /**
   * An OAuth server whose token endpoint is known, over a transport and clocks of the caller's, for tests.
   */
  public static Issuer tokenEndpoint(URI endpoint, HttpTransport http, Timeline timeline) {
    return HttpIssuer.at(http, endpoint, AudienceParameter.AUDIENCE, timeline);
  }

  /**
   * This project's issuer over gRPC.
   *
   * @param target {@code host:port}
   * @param credentials TLS, or plaintext to this machine itself
   * @throws IllegalArgumentException when a secret would be sent in plaintext to another machine
   */
  public static Issuer grpc(String target, ChannelCredentials credentials) {
    if (credentials instanceof InsecureChannelCredentials) {
      Destination.check(URI.create("http://" + target));
    }
    return new GrpcIssuer(
        Grpc.newChannelBuilder(target, credentials)
            .keepAliveTime(10, java.util.concurrent.TimeUnit.SECONDS)
            .build());
  }

  abstract CompletionStage<IssuedToken> obtain(
      Grant grant, String clientId, ClientCredential credential, TokenRequest request);
}
