package example.m2m.verify;

import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

/**
 * The verified tokens, found by all of their text. Only verified tokens are held, so a forger fills nothing.
 *
 * <p>There are two generations. When the young one is full it becomes the old one, and the former old one is
 * dropped. A token of the old one that is used moves to the young one.
 */
final class TokenCache {
  /** The memory of an entry beside the text of its token: claims, lists, tables. */
  private static final int ENTRY_BYTES = 2048;

  private final long generationBytesMax;
  private volatile Generation young = new Generation();
  private volatile Generation old = new Generation();

  private static final class Generation {
    private final ConcurrentHashMap<String, Entry> entries = new ConcurrentHashMap<>();
    private final AtomicLong bytes = new AtomicLong();
  }

  /** A verified token, and the grounds of the verdict. */
  static final class Entry {
    private final VerifiedToken token;
    private final IssuerRules issuer;
    private final VerifyingKey key;
    private volatile long keyVersion;
    private volatile long revocationVersion;

    Entry(VerifiedToken token, IssuerRules issuer, VerifyingKey key, long keyVersion, long revocationVersion) {
      this.token = token;
      this.issuer = issuer;
      this.key = key;
      this.keyVersion = keyVersion;
      this.revocationVersion = revocationVersion;
    }

    VerifiedToken token() {
      return token;
    }

    IssuerRules issuer() {
      return issuer;
    }

    VerifyingKey key() {
      return key;
    }

    /** Returns the version of the key set in which the key was found last. */
    long keyVersion() {
      return keyVersion;
    }

    void keyVersion(long version) {
      keyVersion = version;
    }

    long revocationVersion() {
      return revocationVersion;
    }

    void revocationVersion(long version) {
      revocationVersion = version;
    }
  }

  TokenCache(long bytesMax) {
    generationBytesMax = bytesMax / 2;
  }

  Entry find(String token) {
    Entry entry = young.entries.get(token);
    if (entry == null) {
      entry = old.entries.get(token);
      if (entry != null) {
        hold(token, entry);
      }
    }
    return entry;
  }

  void hold(String token, Entry entry) {
    // Latin-1 text has a byte for each character; a token is held once more in its claims.
    long bytes = 3L * token.length() + ENTRY_BYTES;
    if (bytes > generationBytesMax) {
      return;
    }
    Generation current = young;
    if (current.entries.put(token, entry) == null && current.bytes.addAndGet(bytes) > generationBytesMax) {
      turn(current);
    }
  }

  private synchronized void turn(Generation full) {
    if (young == full) {
      old = full;
      young = new Generation();
    }
  }

  void drop(String token) {
    young.entries.remove(token);
    old.entries.remove(token);
  }
}
