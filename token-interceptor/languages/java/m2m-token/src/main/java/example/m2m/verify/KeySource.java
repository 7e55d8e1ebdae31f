package example.m2m.verify;

import example.m2m.verify.Schedule.UnknownKey;
import java.time.Instant;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/** The source of an issuer's current keys: fixed, fetched, or pushed. */
interface KeySource {
  /** Returns the current set; none before the first one. */
  Optional<KeySet> keys();

  /** Returns a version that changes whenever a key may have been withdrawn. */
  long version();

  /** Handles a token that no held key has signed. It may start a fetch. */
  UnknownKey unknownKey();

  /** Returns true if the state is too old to rely on. */
  boolean isStale(Instant now);

  /** Returns a future that completes with the next news about keys. */
  CompletableFuture<Void> news();

  /** Returns the revocations that the issuer pushes beside its keys. */
  default Optional<Revocations> revocations() {
    return Optional.empty();
  }

  /** Stops asking the issuer. */
  default void close() {}

  /** Returns keys that do not change. */
  static KeySource fixed(KeySet keys) {
    return new KeySource() {
      @Override
      public Optional<KeySet> keys() {
        return Optional.of(keys);
      }

      @Override
      public long version() {
        return 0;
      }

      @Override
      public UnknownKey unknownKey() {
        return new UnknownKey.Refuse();
      }

      @Override
      public boolean isStale(Instant now) {
        return false;
      }

      @Override
      public CompletableFuture<Void> news() {
        return CompletableFuture.completedFuture(null);
      }
    };
  }
}
