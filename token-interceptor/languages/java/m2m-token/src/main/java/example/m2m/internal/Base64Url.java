package example.m2m.internal;

import java.util.Base64;
import java.util.Optional;

/** Base64url without padding (RFC 7515 section 2), of which every text has one spelling. */
public final class Base64Url {
  private Base64Url() {}

  /** Decodes strictly: no padding, and no unused bits in the last character. */
  public static Optional<byte[]> decode(String text) {
    try {
      byte[] bytes = Base64.getUrlDecoder().decode(text);
      return encode(bytes).equals(text) ? Optional.of(bytes) : Optional.empty();
    } catch (IllegalArgumentException malformed) {
      return Optional.empty();
    }
  }

  /** Encodes without padding. */
  public static String encode(byte[] bytes) {
    return Base64.getUrlEncoder().withoutPadding().encodeToString(bytes);
  }
}
