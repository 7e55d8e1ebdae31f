//! Assertions are used once: RFC 7523 section 3, item 7.
//!
//! Remembered in this process until they expire, which is minutes. Only good assertions get here, so nobody but
//! a client can fill the memory, and a client is limited in its requests.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ring::digest;

use crate::error::{AuthenticationFailure, IssueError};

/// Assertions that are remembered at the most: some 50 MB.
const REMEMBERED_MAX: usize = 1_000_000;
/// Below this many, what has expired stays.
const SWEEP_MIN: usize = 1024;

/// Used assertions.
#[derive(Debug, Default)]
pub(super) struct Replays(Mutex<Used>);

#[derive(Debug, Default)]
struct Used {
    /// Hash of client ID and `jti` → when it may be forgotten, as a NumericDate.
    entries: HashMap<[u8; 32], u64>,
    /// So many entries, and what has expired is removed: each entry pays for its own removal.
    sweep_at: usize,
}

impl Replays {
    /// Uses the assertion up.
    ///
    /// # Errors
    ///
    /// When it has been used before; [`IssueError::RateLimited`] when no more can be remembered: an assertion
    /// that would not be remembered could be used twice.
    pub(super) fn use_once(&self, client_id: &str, token_id: &str, forget: u64, now: u64) -> Result<(), IssueError> {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.entries.len() >= used.sweep_at.max(SWEEP_MIN) {
            used.entries.retain(|_, forget| *forget > now);
            used.sweep_at = used.entries.len() * 2;
        }
        if used.entries.len() >= REMEMBERED_MAX {
            return Err(IssueError::RateLimited { retry_after: Duration::from_secs(1) });
        }
        match used.entries.insert(name(client_id, token_id), forget) {
            Some(until) if until > now => Err(IssueError::ClientAuthenticationFailed(
                AuthenticationFailure::AssertionRefused("it was used before"),
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// The same length for every client and `jti`; a zero byte keeps the two apart.
fn name(client_id: &str, token_id: &str) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(client_id.as_bytes());
    context.update(&[0]);
    context.update(token_id.as_bytes());
    context.finish().as_ref().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_is_used_once_by_each_client() {
        let replays = Replays::default();
        assert!(replays.use_once("a", "1", 100, 0).is_ok());
        assert!(replays.use_once("a", "1", 100, 0).is_err());
        assert!(replays.use_once("a", "2", 100, 0).is_ok());
        assert!(replays.use_once("b", "1", 100, 0).is_ok());
    }

    #[test]
    fn what_has_expired_is_forgotten() {
        let replays = Replays::default();
        for n in 0..10 * SWEEP_MIN {
            replays.use_once("a", &n.to_string(), n as u64 + 10, n as u64).unwrap();
        }
        assert!(replays.0.lock().unwrap().entries.len() <= 2 * SWEEP_MIN);
    }
}
