//! One access token, renewed in time.
//!
//! | module | content |
//! |---|---|
//! | `backoff`, `pace` | the pauses between requests to a source |
//! | `machine` | the pure state machine: when to request a token, and which one to use |
//! | `snapshot` | the state that calls read, without a lock |
//! | `shared` | the state that calls and the task share |
//! | `task` | the one background task per token, around the machine |
//!
//! A call reads a snapshot, and never waits if there is a usable token. Renewal happens in the background,
//! ahead of expiry, one request at a time. A dropped call cancels nothing. Dropping the last [`FreshToken`]
//! ends the task.

mod backoff;
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

/// The reason that there is no usable token.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The source returned none. Every call that waited for it gets the same failure.
    #[error("no access token for {request}")]
    Source {
        /// The request.
        request: Arc<TokenRequest>,
        /// The source's error.
        source: Arc<SourceError>,
        /// The time until the next request.
        retry_in: Duration,
    },
    /// There is no token yet, and the call does not wait.
    #[error("the access token is being obtained")]
    Pending,
    /// The task that renews the token has ended, with its runtime or by a panic of the source.
    #[error("the task that obtains the access token has ended")]
    Stopped,
    /// There is no Tokio runtime to renew the token on.
    #[error("no tokio runtime is running here, so no access token can be obtained")]
    NoRuntime,
}

/// A token that is renewed for as long as a clone of this handle lives.
///
/// The layer attaches it. Use it directly for calls other than gRPC.
#[derive(Clone)]
pub struct FreshToken(Arc<Last>);

/// Dropped with the last handle.
struct Last(Arc<Shared>);

impl FreshToken {
    /// Creates a token from `source`. It is requested at first use and renewed from then on.
    pub fn new(source: Arc<dyn TokenSource>, request: TokenRequest, clock: Arc<dyn Clock>) -> Self {
        Self::with_keep(source, request, clock, Keep::Always)
    }

    pub(crate) fn with_keep(
        source: Arc<dyn TokenSource>,
        request: TokenRequest,
        clock: Arc<dyn Clock>,
        keep: Keep,
    ) -> Self {
        Self(Arc::new(Last(Arc::new(Shared::new(source, request, clock, keep, task::run)))))
    }

    /// Returns the token, if there is one. Never waits; without one, requests it.
    ///
    /// # Errors
    ///
    /// [`TokenError::Pending`] while the request is in flight, or the reason of its failure.
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

    /// Returns the token. Waits only while there is none and the source has not failed.
    ///
    /// # Errors
    ///
    /// The source's failure, which all waiting calls share, or [`TokenError::NoRuntime`].
    pub async fn get(&self) -> Result<AccessToken, TokenError> {
        match self.ready() {
            Some(ready) => Ok(ready.token),
            None => self.wait().await.map(|ready| ready.token),
        }
    }

    /// Waits for the next renewal: until a newer token is in hand than at the time of this call. Without a
    /// token at that time, the first one does not count.
    ///
    /// For a stream that is to outlive its token; see [`crate::recipes`]. Call it before the stream is
    /// opened, so that no renewal is missed. The stream then carries this token or a newer one.
    pub fn renewed(&self) -> impl Future<Output = ()> + Send + use<> {
        let token = self.clone();
        let generation = |token: &Self| token.ready().map(|ready| ready.generation);
        let (mut changes, mut before) = (token.shared().changes(), generation(&token));
        async move {
            loop {
                match (before, generation(&token)) {
                    (Some(before), Some(now)) if now > before => return,
                    (None, Some(now)) => before = Some(now),
                    (Some(_), Some(_)) | (_, None) => {}
                }
                // Cannot fail: the sender lives as long as this handle.
                if changes.changed().await.is_err() {
                    return;
                }
            }
        }
    }

    /// Returns the lead of the issuer's clock over this machine's, in milliseconds, if the issuer reported
    /// its time.
    #[must_use]
    pub fn clock_skew_millis(&self) -> i64 {
        self.shared().skew_millis()
    }

    /// The hot path: returns the current token while the wall clock says that it is valid.
    pub(crate) fn ready(&self) -> Option<Ready> {
        self.shared().ready()
    }

    /// Returns a token where [`FreshToken::ready`] had none.
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

    /// Replaces the token in the background: a server refused this generation.
    pub(crate) fn reject(&self, generation: u64) {
        self.shared().reject(generation);
    }

    /// Returns a token newer than the rejected one, if one is to arrive now.
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

    /// Returns the token request.
    #[must_use]
    pub fn request(&self) -> &TokenRequest {
        self.shared().request()
    }

    /// Returns true if both are handles of one token.
    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns a handle that does not keep the token renewed.
    pub(crate) fn downgrade(&self) -> WeakToken {
        WeakToken(Arc::downgrade(&self.0))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }
}

/// A token that lives as long as other handles hold it.
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
