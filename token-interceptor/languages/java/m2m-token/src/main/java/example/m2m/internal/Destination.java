package example.m2m.internal;

import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.URI;
import java.net.UnknownHostException;
import java.util.Locale;

/** The permitted destinations of credentials and tokens: over TLS, or on this machine. */
public final class Destination {
  private Destination() {}

  /**
   * Rejects a destination in plaintext on another machine.
   *
   * @throws IllegalArgumentException when the URL is plaintext and leads to another machine, or has no host
   */
  public static void check(URI url) {
    String scheme = url.getScheme() == null ? "" : url.getScheme().toLowerCase(Locale.ROOT);
    String host = url.getHost() == null ? "" : url.getHost();
    boolean safe = !host.isEmpty() && (scheme.equals("https") || scheme.equals("http") && isLoopback(host));
    if (!safe) {
      throw new IllegalArgumentException(
          scheme + "://" + host + " is plaintext and not on this machine: use https");
    }
  }

  /** Returns true for a name or an address of this machine itself. No name is looked up. */
  public static boolean isLoopback(String host) {
    if (host.equalsIgnoreCase("localhost") || host.toLowerCase(Locale.ROOT).endsWith(".localhost")) {
      return true;
    }
    boolean address = host.matches("[0-9.]+") || host.indexOf(':') >= 0;
    try {
      return address && InetAddress.getByName(host).isLoopbackAddress();
    } catch (UnknownHostException malformed) {
      return false;
    }
  }

  /** Returns true if a connection leads to this machine itself. */
  public static boolean isLoopback(SocketAddress peer) {
    return peer instanceof InetSocketAddress address
        && address.getAddress() != null
        && address.getAddress().isLoopbackAddress();
  }
}
