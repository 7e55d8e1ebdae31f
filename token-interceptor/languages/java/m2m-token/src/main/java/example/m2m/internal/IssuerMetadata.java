package example.m2m.internal;

import java.net.URI;

/**
 * The URLs of an issuer's metadata.
 *
 * @param openid by OpenID Connect Discovery 1.0 section 4
 * @param oauth by RFC 8414 section 3.1
 */
public record IssuerMetadata(URI openid, URI oauth) {
  /**
   * Returns the URLs for an issuer's identifier.
   *
   * @throws IllegalArgumentException when it is no URL, or has a query or a fragment
   */
  public static IssuerMetadata of(String issuer) {
    URI url = URI.create(issuer);
    if (url.getHost() == null || url.getRawQuery() != null || url.getRawFragment() != null) {
      throw new IllegalArgumentException(issuer + ": an issuer is a URL without query and fragment (RFC 8414)");
    }
    String path = url.getRawPath().replaceAll("/+$", "");
    return new IssuerMetadata(
        url.resolve(path + "/.well-known/openid-configuration"),
        url.resolve("/.well-known/oauth-authorization-server" + path));
  }
}
