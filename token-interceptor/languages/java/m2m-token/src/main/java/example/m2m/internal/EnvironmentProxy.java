package example.m2m.internal;

import java.io.IOException;
import java.math.BigInteger;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Proxy;
import java.net.ProxySelector;
import java.net.SocketAddress;
import java.net.URI;
import java.net.UnknownHostException;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The proxy that the environment names for {@code https} URLs: {@code HTTPS_PROXY} or {@code ALL_PROXY}, and
 * its exceptions in {@code NO_PROXY}. A lower-case name has precedence. Without one, the proxy of the JDK's
 * own properties counts. This machine is never reached through a proxy.
 */
public final class EnvironmentProxy extends ProxySelector {
  private static final Pattern HOST_AND_PORT = Pattern.compile("(\\[.*\\]|[^:]*)(?::([0-9]+))?");
  private static final int HTTPS = 443;

  private final Optional<InetSocketAddress> proxy;
  private final List<String> exceptions;

  /**
   * Reads the proxy of {@code environment}.
   *
   * @throws IllegalArgumentException when it is of another kind than {@code http}, or has user information
   */
  public EnvironmentProxy(Map<String, String> environment) {
    proxy = named(environment, "HTTPS_PROXY").or(() -> named(environment, "ALL_PROXY")).map(EnvironmentProxy::address);
    exceptions = List.of(named(environment, "NO_PROXY").orElse("").split("[, ]+"));
  }

  private static Optional<String> named(Map<String, String> environment, String name) {
    return Optional.ofNullable(environment.get(name.toLowerCase(Locale.ROOT)))
        .filter(value -> !value.isBlank())
        .or(() -> Optional.ofNullable(environment.get(name)).filter(value -> !value.isBlank()))
        .map(String::trim);
  }

  private static InetSocketAddress address(String value) {
    // A value without a scheme is a host and a port. It may hold a password, so that no error shows it.
    URI url;
    try {
      url = URI.create(value.contains("://") ? value : "http://" + value);
    } catch (IllegalArgumentException malformed) {
      throw new IllegalArgumentException("the proxy that the environment names is no URL");
    }
    if (!"http".equalsIgnoreCase(url.getScheme()) || url.getHost() == null || url.getUserInfo() != null) {
      throw new IllegalArgumentException(
          "the proxy that the environment names is no http URL without user information: set https.proxyHost");
    }
    return InetSocketAddress.createUnresolved(bare(url.getHost()), url.getPort() < 0 ? 80 : url.getPort());
  }

  @Override
  public List<Proxy> select(URI url) {
    String host = url.getHost() == null ? "" : bare(url.getHost()).toLowerCase(Locale.ROOT);
    int port = url.getPort() < 0 ? HTTPS : url.getPort();
    if (!"https".equalsIgnoreCase(url.getScheme()) || Destination.isLoopback(host)) {
      return List.of(Proxy.NO_PROXY);
    }
    if (proxy.isEmpty()) {
      ProxySelector standard = ProxySelector.getDefault();
      return standard == null ? List.of(Proxy.NO_PROXY) : standard.select(url);
    }
    boolean direct = exceptions.stream().anyMatch(exception -> excepts(exception, host, port));
    return List.of(direct ? Proxy.NO_PROXY : new Proxy(Proxy.Type.HTTP, proxy.get()));
  }

  @Override
  public void connectFailed(URI url, SocketAddress address, IOException failure) {
    // The request fails by itself.
  }

  /**
   * Compares with {@code *}, a name with all names below it, an address, or a network. All but a network may
   * have a port.
   */
  private static boolean excepts(String exception, String host, int port) {
    if (exception.equals("*")) {
      return true;
    }
    int slash = exception.indexOf('/');
    if (slash >= 0) {
      return isWithin(host, exception.substring(0, slash), exception.substring(slash + 1));
    }
    Matcher parts = HOST_AND_PORT.matcher(exception);
    boolean split = parts.matches();
    if (split && parts.group(2) != null && !parts.group(2).equals(Integer.toString(port))) {
      return false;
    }
    String name = bare(split ? parts.group(1) : exception).replaceFirst("^\\*?\\.", "").toLowerCase(Locale.ROOT);
    return !name.isEmpty() && (host.equals(name) || !isAddress(host) && host.endsWith("." + name));
  }

  private static boolean isWithin(String host, String network, String bits) {
    if (!isAddress(host) || !isAddress(bare(network)) || !bits.matches("[0-9]{1,3}")) {
      return false;
    }
    try {
      byte[] one = InetAddress.getByName(host).getAddress();
      byte[] other = InetAddress.getByName(bare(network)).getAddress();
      int rest = one.length * Byte.SIZE - Integer.parseInt(bits);
      return one.length == other.length
          && rest >= 0
          && new BigInteger(1, one).shiftRight(rest).equals(new BigInteger(1, other).shiftRight(rest));
    } catch (UnknownHostException malformed) {
      return false;
    }
  }

  /** No name is looked up: an address has digits and dots only, or a colon. */
  private static boolean isAddress(String host) {
    return host.matches("[0-9]+\\.[0-9]+\\.[0-9]+\\.[0-9]+") || host.indexOf(':') >= 0;
  }

  private static String bare(String host) {
    return host.startsWith("[") && host.endsWith("]") ? host.substring(1, host.length() - 1) : host;
  }
}
