package example.m2m.verify;

import example.m2m.internal.Base64Url;
import example.m2m.internal.Json;
import example.m2m.internal.JsonException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * A parsed compact JWS (RFC 7515 sections 4 and 7.1), as strict as RFC 8725 demands. Nothing in it is
 * trusted.
 *
 * @param algorithm {@code alg}, one of the supported ones
 * @param keyId {@code kid}
 * @param tokenType {@code typ}
 * @param signed the signed bytes: header and claims as they were sent
 * @param claims the claims
 * @param signature the signature
 */
record Jws(
    Algorithm algorithm,
    Optional<String> keyId,
    Optional<String> tokenType,
    byte[] signed,
    Map<String, Object> claims,
    byte[] signature) {

  /**
   * Header parameters that are never accepted: extensions (RFC 7515 section 4.1.11, RFC 7797), and a key of
   * the token's own or its address.
   */
  private static final List<String> NOT_ALLOWED = List.of("crit", "b64", "jwk", "jku", "x5c", "x5u");

  static Jws parse(String token) throws VerifyException {
    int first = token.indexOf('.');
    int last = token.lastIndexOf('.');
    boolean threeParts =
        first > 0 && last > first + 1 && last < token.length() - 1 && token.indexOf('.', first + 1) == last;
    if (!threeParts) {
      throw malformed("it is not three parts");
    }
    Map<String, Object> header = object(token.substring(0, first), "its header is no base64url of a JSON object");
    for (String name : NOT_ALLOWED) {
      if (header.containsKey(name)) {
        throw new VerifyException(Fault.HEADER_NOT_ALLOWED, "the header parameter " + name + " is not allowed");
      }
    }
    String algorithm = text(header, "alg").orElseThrow(() -> malformed("it has no alg"));
    return new Jws(
        Algorithm.of(algorithm)
            .orElseThrow(() -> new VerifyException(Fault.ALGORITHM_NOT_ALLOWED, "its alg is not supported")),
        text(header, "kid"),
        text(header, "typ"),
        token.substring(0, last).getBytes(StandardCharsets.US_ASCII),
        object(token.substring(first + 1, last), "its claims are no base64url of a JSON object"),
        Base64Url.decode(token.substring(last + 1)).orElseThrow(() -> malformed("its signature is no base64url")));
  }

  private static Map<String, Object> object(String part, String fault) throws VerifyException {
    try {
      return Json.object(Base64Url.decode(part).orElseThrow(() -> malformed(fault)));
    } catch (JsonException notStrict) {
      throw malformed(fault);
    }
  }

  private static Optional<String> text(Map<String, Object> header, String name) throws VerifyException {
    Object value = header.get(name);
    if (value == null) {
      return Optional.empty();
    }
    if (value instanceof String text) {
      return Optional.of(text);
    }
    throw malformed("the header parameter " + name + " is not text");
  }

  private static VerifyException malformed(String fault) {
    return new VerifyException(Fault.MALFORMED, fault);
  }

  /** Names the algorithm only: the token is a secret, and claims may be personal. */
  @Override
  public String toString() {
    return "Jws[" + algorithm + "]";
  }
}
