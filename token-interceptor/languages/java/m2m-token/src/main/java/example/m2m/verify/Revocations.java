package example.m2m.verify;

import com.google.protobuf.ByteString;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Revoked tokens: single ones by their {@code jti}, or every token of a client issued before a time.
 *
 * <p>The set keeps hashes, not names. A revocation counts from the next call on. Share one set between
 * verifiers.
 */
public final class Revocations {
  private static final int HASH_BYTES = 16;
  /** The private claim of this project's issuer that lists the tokens that a token was derived from. */
  private static final String ANCESTORS = "m2m_ancestors";

  private final Map<ByteString, Entry> entries = new ConcurrentHashMap<>();
  private final AtomicLong version = new AtomicLong();

  /** Tokens with an {@code iat} before the first time are revoked; from the second time on, none is left. */
  private record Entry(long issuedBefore, long forget) {}

  /** Creates an empty set. */
  public Revocations() {}

  /** Revokes the token with this {@code jti}. {@code forgetAt}: the time when it has expired. */
  public void revokeToken(String tokenId, Instant forgetAt) {
    add(hashOfToken(tokenId), Long.MAX_VALUE, after(forgetAt));
  }

  /** Revokes every token of this client that was issued before a time. */
  public void revokeClient(String clientId, Instant issuedBefore, Instant forgetAt) {
    add(hash("revoked client", clientId), after(issuedBefore), after(forgetAt));
  }

  /**
   * Revokes the token with this hash, as it travels in {@code m2m.token.v1.Revocation}: 16 bytes.
   *
   * @throws IllegalArgumentException when the hash has another length
   */
  public void revokeTokenHash(byte[] hash, Instant forgetAt) {
    add(ByteString.copyFrom(hash), Long.MAX_VALUE, after(forgetAt));
  }

  /**
   * Revokes the token or client with this hash, as it travels: 16 bytes.
   *
   * @throws IllegalArgumentException when the hash has another length
   */
  void add(ByteString target, long issuedBefore, long forget) {
    if (target.size() != HASH_BYTES) {
      throw new IllegalArgumentException("a hash has " + HASH_BYTES + " bytes");
    }
    entries.merge(
        target,
        new Entry(issuedBefore, forget),
        (one, other) ->
            new Entry(Math.max(one.issuedBefore, other.issuedBefore), Math.max(one.forget, other.forget)));
    version.incrementAndGet();
  }

  /** Drops the entries that no token needs any more. */
  void forget(Instant now) {
    entries.values().removeIf(entry -> entry.forget <= now.getEpochSecond());
  }

  long version() {
    return version.get();
  }

  /** Returns true if the token, its client, or a token that it was derived from is revoked. */
  boolean revokes(VerifiedToken token) {
    if (entries.isEmpty()) {
      return false;
    }
    if (revokes(token.tokenId(), token.clientId(), token.checked().issuedAt())) {
      return true;
    }
    if (token.claims().get(ANCESTORS) instanceof List<?> ancestors) {
      for (Object ancestor : ancestors) {
        // An entry of another shape belongs to another project.
        if (ancestor instanceof List<?> entry
            && entry.size() == 3
            && entry.get(0) instanceof String tokenId
            && entry.get(1) instanceof String clientId
            && entry.get(2) instanceof Long issuedAt
            && revokes(tokenId, clientId, issuedAt)) {
          return true;
        }
      }
    }
    return false;
  }

  private boolean revokes(String tokenId, String clientId, long issuedAt) {
    return revokes(hashOfToken(tokenId), issuedAt) || revokes(hash("revoked client", clientId), issuedAt);
  }

  private boolean revokes(ByteString target, long issuedAt) {
    Entry entry = entries.get(target);
    return entry != null && issuedAt < entry.issuedBefore;
  }

  private static ByteString hashOfToken(String tokenId) {
    return hash("revoked token", tokenId);
  }

  /** The first 16 bytes of the SHA-256 of the kind, a zero byte and the name. */
  private static ByteString hash(String kind, String name) {
    try {
      var digest = MessageDigest.getInstance("SHA-256");
      digest.update(kind.getBytes(StandardCharsets.US_ASCII));
      digest.update((byte) 0);
      return ByteString.copyFrom(digest.digest(name.getBytes(StandardCharsets.UTF_8)), 0, HASH_BYTES);
    } catch (NoSuchAlgorithmException impossible) {
      throw new IllegalStateException(impossible);
    }
  }

  /** In whole seconds, as tokens count: a token of the second in which its client was revoked is revoked. */
  static long after(Instant time) {
    return time.getEpochSecond() + (time.getNano() > 0 ? 1 : 0);
  }
}
