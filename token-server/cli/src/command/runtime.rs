//! The runtime of a command.

use super::failure::Failure;

/// Returns a runtime for a command that waits for one response at a time.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed("cannot start", error))
}
