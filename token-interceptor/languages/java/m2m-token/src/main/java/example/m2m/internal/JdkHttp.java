package example.m2m.internal;

import java.io.IOException;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodySubscriber;
import java.net.http.HttpResponse.BodySubscribers;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Flow;
import javax.net.ssl.SSLContext;

/** Requests by the JDK's own client, through the proxy of the environment. A redirect is not followed. */
public final class JdkHttp implements HttpTransport {
  /** The longest time of a connection attempt. */
  private static final Duration CONNECT_MAX = Duration.ofSeconds(5);
  /** The largest body: a key set has a few kilobytes. */
  private static final int BODY_BYTES_MAX = 256 * 1024;
  private static final List<String> HEADERS = List.of("date", "retry-after");

  private final HttpClient client;
  private final Duration timeout;

  /** Creates a client that trusts the JDK's own roots, or those of {@code tls}. */
  public JdkHttp(Optional<SSLContext> tls, Duration timeout) {
    this(tls, timeout, new EnvironmentProxy(System.getenv()));
  }

  JdkHttp(Optional<SSLContext> tls, Duration timeout, ProxySelector proxy) {
    var builder =
        HttpClient.newBuilder()
            .connectTimeout(CONNECT_MAX)
            .followRedirects(HttpClient.Redirect.NEVER)
            .proxy(proxy);
    tls.ifPresent(builder::sslContext);
    this.client = builder.build();
    this.timeout = timeout;
  }

  @Override
  public CompletionStage<HttpAnswer> get(URI url) {
    check(url);
    return send(HttpRequest.newBuilder(url).header("accept", "application/json").GET());
  }

  @Override
  public CompletionStage<HttpAnswer> post(URI url, String form, Optional<String> authorization) {
    check(url);
    var request =
        HttpRequest.newBuilder(url)
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded")
            .POST(HttpRequest.BodyPublishers.ofString(form));
    authorization.ifPresent(value -> request.header("authorization", value));
    return send(request);
  }

  private CompletionStage<HttpAnswer> send(HttpRequest.Builder request) {
    return client
        .sendAsync(request.timeout(timeout).build(), head -> new Bounded(BodySubscribers.ofByteArray()))
        .thenApply(JdkHttp::answer);
  }

  private static HttpAnswer answer(HttpResponse<byte[]> response) {
    var headers = new HashMap<String, String>();
    for (String name : HEADERS) {
      response.headers().firstValue(name).ifPresent(value -> headers.put(name, value));
    }
    return new HttpAnswer(response.statusCode(), headers, response.body());
  }

  /** A body that fails when it is too large. */
  private static final class Bounded implements BodySubscriber<byte[]> {
    private final BodySubscriber<byte[]> inner;
    private Flow.Subscription subscription;
    private long bytes;

    Bounded(BodySubscriber<byte[]> inner) {
      this.inner = inner;
    }

    @Override
    public CompletionStage<byte[]> getBody() {
      return inner.getBody();
    }

    @Override
    public void onSubscribe(Flow.Subscription starting) {
      subscription = starting;
      inner.onSubscribe(starting);
    }

    @Override
    public void onNext(List<ByteBuffer> buffers) {
      bytes += buffers.stream().mapToLong(ByteBuffer::remaining).sum();
      if (bytes <= BODY_BYTES_MAX) {
        inner.onNext(buffers);
      } else {
        subscription.cancel();
        inner.onError(new IOException("the body has more than " + BODY_BYTES_MAX + " bytes"));
      }
    }

    @Override
    public void onError(Throwable error) {
      inner.onError(error);
    }

    @Override
    public void onComplete() {
      inner.onComplete();
    }
  }
}
