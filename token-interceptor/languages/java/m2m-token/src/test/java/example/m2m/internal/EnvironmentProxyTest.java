package example.m2m.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.InetSocketAddress;
import java.net.Proxy;
import java.net.ServerSocket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.Test;

/** The proxy that the environment names. */
class EnvironmentProxyTest {
  private static final String PROXY = "http://proxy.example:3128";

  /** Returns host and port of the proxy for {@code url}, or "direct". */
  private static String of(String url, Map<String, String> environment) {
    Proxy proxy = new EnvironmentProxy(environment).select(URI.create(url)).get(0);
    return proxy.address() instanceof InetSocketAddress address
        ? address.getHostString() + ":" + address.getPort()
        : "direct";
  }

  @Test
  void theLowerCaseNameComesFirstAndAllProxyLast() {
    String url = "https://issuer.example";
    assertEquals("direct", of(url, Map.of()));
    assertEquals("all.example:80", of(url, Map.of("ALL_PROXY", "all.example")));
    assertEquals("proxy.example:3128", of(url, Map.of("ALL_PROXY", "all.example", "HTTPS_PROXY", PROXY)));
    assertEquals("lower.example:1", of(url, Map.of("HTTPS_PROXY", PROXY, "https_proxy", "lower.example:1")));
    for (String host : List.of("localhost", "127.0.0.1", "[::1]")) {
      assertEquals("direct", of("https://" + host, Map.of("HTTPS_PROXY", PROXY)), host);
    }
  }

  @Test
  void aProxyOfAnotherKindIsAnErrorThatShowsNoPassword() {
    for (String other : List.of("socks5://p.example", "https://p.example", "http://a:secret@p.example", "http://a b")) {
      var error =
          assertThrows(
              IllegalArgumentException.class, () -> new EnvironmentProxy(Map.of("HTTPS_PROXY", other)), other);
      assertTrue(!error.getMessage().contains("secret"), error.getMessage());
    }
  }

  @Test
  void exceptionsAreNamesPortsAddressesAndNetworks() {
    for (var one :
        List.of(
            List.of("*", "https://issuer.example", "direct"),
            List.of("issuer.example", "https://tokens.issuer.example", "direct"),
            List.of(".issuer.example", "https://issuer.example", "direct"),
            List.of("*.issuer.example", "https://tokens.issuer.example", "direct"),
            List.of("ISSUER.example", "https://issuer.example", "direct"),
            List.of("issuer.example", "https://noissuer.example", "proxy.example:3128"),
            List.of("other.example, issuer.example", "https://issuer.example", "direct"),
            List.of("issuer.example:8443", "https://issuer.example:8443", "direct"),
            List.of("issuer.example:8443", "https://issuer.example", "proxy.example:3128"),
            List.of("issuer.example:443", "https://issuer.example", "direct"),
            List.of("10.0.0.0/8", "https://10.1.2.3", "direct"),
            List.of("10.0.0.0/8", "https://11.1.2.3", "proxy.example:3128"),
            List.of("10.0.0.0/8", "https://issuer.example", "proxy.example:3128"),
            List.of("10.0.0.0/40", "https://10.1.2.3", "proxy.example:3128"),
            List.of("[fd00::1]", "https://[fd00::1]", "direct"),
            List.of("fd00::/8", "https://[fd00::1]", "direct"),
            List.of("1.2.3", "https://10.1.2.3", "proxy.example:3128"))) {
      assertEquals(one.get(2), of(one.get(1), Map.of("HTTPS_PROXY", PROXY, "NO_PROXY", one.get(0))), one.toString());
    }
  }

  @Test
  void aRequestGoesThroughATunnelOfTheProxy() throws Exception {
    try (var listener = new ServerSocket(0)) {
      var asked =
          CompletableFuture.supplyAsync(
              () -> {
                try (var connection = listener.accept()) {
                  byte[] head = new byte[1024];
                  int length = connection.getInputStream().read(head);
                  return new String(head, 0, length, StandardCharsets.US_ASCII);
                } catch (java.io.IOException failed) {
                  throw new java.io.UncheckedIOException(failed);
                }
              });
      var proxy = new EnvironmentProxy(Map.of("HTTPS_PROXY", "127.0.0.1:" + listener.getLocalPort()));
      var http = new JdkHttp(Optional.empty(), Duration.ofSeconds(10), proxy);
      var answer = http.get(URI.create("https://issuer.example/keys")).toCompletableFuture();
      assertTrue(asked.join().startsWith("CONNECT issuer.example:443 HTTP/1.1\r\n"), asked.join());
      assertThrows(CompletionException.class, answer::join);
    }
  }
}
