//! Changes to the store, as they happen: to the caches and to the trust stream.
