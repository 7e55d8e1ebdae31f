package example.m2m.verify;

import example.m2m.internal.Json;
import example.m2m.internal.JsonException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Optional;

/**
 * An immutable set of public keys (RFC 7517 section 5), each bound to one algorithm. Unusable keys are
 * skipped.
 */
public final class KeySet {
  /** Keys that are tried for one token. Each costs one signature check, which an attacker can cause. */
  private static final int CANDIDATES_MAX = 4;

  private final List<VerifyingKey> keys = new ArrayList<>();
  private final List<String> reasons = new ArrayList<>();
  private final List<String> content;

  private KeySet(Collection<String> jwks) {
    content = jwks.stream().sorted().toList();
    for (String jwk : content) {
      try {
        keys.add(VerifyingKey.of(Json.object(jwk.getBytes(StandardCharsets.UTF_8))));
      } catch (JsonException | VerifyingKey.UnusableKeyException unusable) {
        reasons.add(unusable.getMessage());
      }
    }
  }

  /** Reads public JWKs, each in its JSON. */
  public static KeySet ofJwks(Collection<String> jwks) {
    return new KeySet(jwks);
  }

  /**
   * Reads a JWK Set.
   *
   * @throws IllegalArgumentException when it is no JSON object with one array {@code keys}
   */
  public static KeySet ofJwkSet(byte[] document) {
    var arrays = new ArrayList<List<String>>();
    try {
      Json.members(
          document,
          (name, json) -> {
            if (name.equals("keys")) {
              arrays.add(Json.items(json.getBytes(StandardCharsets.UTF_8)));
            }
          });
    } catch (JsonException malformed) {
      throw new IllegalArgumentException("not a JWK Set (RFC 7517 section 5)", malformed);
    }
    if (arrays.size() != 1) {
      throw new IllegalArgumentException("not a JWK Set (RFC 7517 section 5)");
    }
    return new KeySet(arrays.get(0));
  }

  /** Returns the number of usable keys. */
  public int size() {
    return keys.size();
  }

  /** Returns the number of unusable keys. */
  public int skipped() {
    return reasons.size();
  }

  /** Returns true if the set lists keys and none is usable: a mistake of the issuer, or of a proxy. */
  boolean hasNothingUsable() {
    return keys.isEmpty() && !reasons.isEmpty();
  }

  boolean isSame(KeySet other) {
    return content.equals(other.content);
  }

  boolean holds(VerifyingKey key) {
    return keys.stream().anyMatch(held -> held.isSame(key));
  }

  /** Returns true if a key has this ID, for any algorithm. */
  boolean knows(String keyId) {
    return keys.stream().anyMatch(key -> key.keyId().equals(Optional.of(keyId)));
  }

  /** Returns the keys that may have signed a token: those of its key ID, if it has one, and its algorithm. */
  List<VerifyingKey> candidates(Optional<String> keyId, Algorithm algorithm) {
    return keys.stream()
        .filter(key -> key.algorithm() == algorithm)
        .filter(key -> keyId.isEmpty() || key.keyId().equals(keyId))
        .limit(CANDIDATES_MAX)
        .toList();
  }

  /** Tells numbers, and why keys were skipped. */
  @Override
  public String toString() {
    return "KeySet[" + keys.size() + " keys, skipped: " + reasons + "]";
  }
}
