//! Time limits for the answers of a store.

use std::time::Duration;

use tokio::time::timeout;

use super::StoreError;

/// The default time limit of one answer. After it, the store counts as unreachable.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Returns `Unavailable` if the store does not answer within [`PATIENCE`].
pub(crate) async fn answered<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    answered_within(PATIENCE, answer).await
}

/// Returns `Unavailable` if the store does not answer within `limit`.
pub(crate) async fn answered_within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(limit, answer).await.unwrap_or_else(|elapsed| Err(StoreError::unavailable(elapsed)))
}
