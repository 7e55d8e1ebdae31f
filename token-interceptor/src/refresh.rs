//! One access token, kept fresh.
//!
//! | module | what |
//! |---|---|
//! | `backoff`, `pace` | how long to leave a source alone |
//! | `machine` | when to ask and what to give out: the state machine, pure |
//! | `snapshot` | what calls read, without a lock |
//! | `shared` | what calls and the task have in common |
//! | `task` | the one background task per token, around the machine |
//!
//! A call with a usable token in reach reads a snapshot and never waits; renewal happens in the background,
//! ahead of expiry, one request at a time. Dropping a call cancels nothing; dropping the last [`FreshToken`]
//! ends the task.

mod backoff;
mod draw;
mod machine;
mod pace;
mod shared;
mod skew;
mod snapshot;
mod task;

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

pub(crate) use machine::Keep;
use shared::Shared;
pub(crate) use snapshot::Ready;
use snapshot::Verdict;

use crate::{
    clock::Clock,
    source::{AccessToken, SourceError, TokenRequest, TokenSource},
};

/// Why there is no token to use.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The source gave none; every call that waited for it has the same failure.
    #[error("no access token for {request}")]
    Source {
        /// What was asked for.
        request: Arc<TokenRequest>,
        /// What the source said.
        source: Arc<SourceError>,
        /// How long until it may be asked again.
        retry_in: Duration,
    },
    /// No token is in hand yet, and the call does not wait.
    #[error("the access token is being obtained")]
    Pending,
    /// The task that keeps the token fresh has ended, with its runtime or by a panic of the source.
    #[error("the task that obtains the access token has ended")]
    Stopped,
    /// There is no tokio runtime to keep the token fresh on.
    #[error("no tokio runtime is running here, so no access token can be obtained")]
    NoRuntime,
}

/// A token that is kept fresh for as long as a clone of this lives.
///
/// What the layer attaches; of use by itself where the call is not a gRPC call.
#[derive(Clone)]
pub struct FreshToken(Arc<Last>);

/// Dropped with the last handle.
struct Last(Arc<Shared>);

impl FreshToken {
    /// A token from `source`, asked for at first use and from then on kept fresh.
    pub fn new(source: Arc<dyn TokenSource>, request: TokenRequest, clock: Arc<dyn Clock>) -> Self {
        Self::with_keep(source, request, clock, Keep::Always)
    }

    pub(crate) fn with_keep(
        source: Arc<dyn TokenSource>,
        request: TokenRequest,
        clock: Arc<dyn Clock>,
        keep: Keep,
    ) -> Self {
        Self(Arc::new(Last(Arc::new(Shared::new(source, request, clock, keep)))))
    }

    /// The token, if one is in hand; never waits. Without one, it is asked for.
    ///
    /// # Errors
    ///
    /// [`TokenError::Pending`] while it is being obtained, or why it cannot be.
    pub fn now(&self) -> Result<AccessToken, TokenError> {
        if let Some(ready) = self.ready() {
            return Ok(ready.token);
        }
        self.shared().want()?;
        match self.shared().look() {
            Verdict::Use(ready) => Ok(ready.token),
            Verdict::Fail(error) => Err(error),
            Verdict::Wait => Err(TokenError::Pending),
        }
    }

    /// The token; waits only while there is none and the source has not failed.
    ///
    /// # Errors
    ///
    /// The source's failure, which all who wait share, or [`TokenError::NoRuntime`].
    pub async fn get(&self) -> Result<AccessToken, TokenError> {
        match self.ready() {
            Some(ready) => Ok(ready.token),
            None => self.wait().await.map(|ready| ready.token),
        }
    }

    /// How far the issuer's clock is ahead of this machine's, in milliseconds, as far as it told.
    #[must_use]
    pub fn clock_skew_millis(&self) -> i64 {
        self.shared().skew_millis()
    }

    /// The hot path: the token in hand, while the time of day says that it may be used.
    pub(crate) fn ready(&self) -> Option<Ready> {
        self.shared().ready()
    }

    /// A token where [`FreshToken::ready`] had none.
    pub(crate) async fn wait(&self) -> Result<Ready, TokenError> {
        let mut changes = self.shared().changes();
        self.shared().want()?;
        loop {
            match self.shared().look() {
                Verdict::Use(ready) => return Ok(ready),
                Verdict::Fail(error) => return Err(error),
                // Cannot fail: the sender lives as long as this handle.
                Verdict::Wait => changes.changed().await.map_err(|_| TokenError::Stopped)?,
            }
        }
    }

    /// A server refused the token of this generation: it is replaced in the background.
    pub(crate) fn reject(&self, generation: u64) {
        self.shared().reject(generation);
    }

    /// A token newer than the rejected one, if there is going to be one now.
    pub(crate) async fn replacement(&self, rejected: u64) -> Option<Ready> {
        let mut changes = self.shared().changes();
        self.shared().reject(rejected);
        loop {
            match self.shared().look_past(rejected) {
                Verdict::Use(ready) => return Some(ready),
                Verdict::Fail(_) => return None,
                Verdict::Wait => changes.changed().await.ok()?,
            }
        }
    }

    /// What the token is asked to be good for.
    #[must_use]
    pub fn request(&self) -> &TokenRequest {
        self.shared().request()
    }

    /// Whether both are handles of one token.
    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A handle that does not keep the token fresh.
    pub(crate) fn downgrade(&self) -> WeakToken {
        WeakToken(Arc::downgrade(&self.0))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }
}

/// A token as long as others hold it.
pub(crate) struct WeakToken(Weak<Last>);

impl WeakToken {
    pub(crate) fn upgrade(&self) -> Option<FreshToken> {
        self.0.upgrade().map(FreshToken)
    }

    pub(crate) fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl fmt::Debug for FreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreshToken").field("request", self.shared().request()).finish_non_exhaustive()
    }
}
