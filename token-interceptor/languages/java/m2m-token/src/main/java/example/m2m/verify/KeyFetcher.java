package example.m2m.verify;

import java.util.concurrent.CompletionStage;

/** A way to fetch the keys of one issuer. */
@FunctionalInterface
public interface KeyFetcher {
  /** Fetches the keys. A stage that fails leaves the held set as it is. */
  CompletionStage<KeySet> fetch();
}
