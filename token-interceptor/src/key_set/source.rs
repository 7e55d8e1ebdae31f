//! The source of an issuer's current keys: this program, fetches, or a stream.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{Candidates, Found, KeySet, LiveKeySet, pushed::PushedTrust, remote::RemoteKeySet, schedule::UnknownKey};
use crate::{
    revocation::Revocations,
    signature::{Algorithm, VerifyingKey},
};

#[derive(Debug)]
pub(crate) enum KeySource {
    /// Held by this program. Keys that never change are a set that is never replaced.
    Live(LiveKeySet),
    Remote(RemoteKeySet),
    Pushed(PushedTrust),
}

/// The result of a search by a token's `kid` and `alg`.
pub(crate) enum Lookup {
    Keys(Candidates),
    /// The key exists, for another algorithm.
    OtherAlgorithm,
    Unknown(UnknownKey),
}

impl KeySource {
    /// Returns a version that changes whenever a key may have been withdrawn.
    pub(crate) fn version(&self) -> u64 {
        match self {
            Self::Live(live) => live.version(),
            Self::Remote(remote) => remote.version(),
            Self::Pushed(pushed) => pushed.version(),
        }
    }

    pub(crate) fn find(&self, key_id: Option<&str>, algorithm: Algorithm) -> Lookup {
        match self.keys().map_or(Found::Absent, |keys| keys.find(key_id, algorithm)) {
            Found::Keys(candidates) => Lookup::Keys(candidates),
            Found::OtherAlgorithm => Lookup::OtherAlgorithm,
            Found::Absent => Lookup::Unknown(self.unknown_key()),
        }
    }

    /// Returns true if the issuer still publishes `key`.
    pub(crate) fn holds(&self, key: &Arc<VerifyingKey>) -> bool {
        self.keys().is_some_and(|keys| keys.holds(key))
    }

    /// Handles a token that no cached key has signed. It may start a fetch.
    pub(crate) fn unknown_key(&self) -> UnknownKey {
        match self {
            Self::Live(_) => UnknownKey::Refuse,
            Self::Remote(remote) => remote.unknown_key(),
            Self::Pushed(pushed) => pushed.unknown_key(),
        }
    }

    fn keys(&self) -> Option<Arc<KeySet>> {
        match self {
            Self::Live(live) => Some(live.keys()),
            Self::Remote(remote) => remote.keys(),
            Self::Pushed(pushed) => pushed.keys(),
        }
    }

    /// Ends the fetching task for good: the issuer is no longer trusted.
    pub(crate) fn end(&self) {
        match self {
            Self::Live(_) => {}
            Self::Remote(remote) => remote.end(),
            Self::Pushed(pushed) => pushed.end(),
        }
    }

    /// Returns true if the keys are there, and not too old to rely on.
    pub(crate) fn is_ready(&self, now: SystemTime) -> bool {
        self.keys().is_some() && !self.is_stale(now)
    }

    /// Waits until the keys may be there. It starts a fetch, or waits for the next one.
    pub(crate) async fn made_ready(&self) {
        let news = self.news();
        self.unknown_key();
        if let Err(retry_after) = self.news_since(news).await {
            tokio::time::sleep(retry_after).await;
        }
    }

    /// Called for each verification. Restarts the fetching task if it is gone.
    pub(crate) fn keep_fresh(&self) {
        match self {
            Self::Remote(remote) => remote.keep_fresh(),
            Self::Live(_) | Self::Pushed(_) => {}
        }
    }

    /// Returns true if the state is too old to rely on.
    pub(crate) fn is_stale(&self, now: SystemTime) -> bool {
        match self {
            Self::Live(_) => false,
            Self::Remote(remote) => remote.is_stale(),
            Self::Pushed(pushed) => pushed.is_stale(now),
        }
    }

    /// The state that the issuer pushes beside its keys.
    pub(crate) fn revocations(&self) -> Option<&Revocations> {
        match self {
            Self::Live(_) | Self::Remote(_) => None,
            Self::Pushed(pushed) => Some(pushed.revocations()),
        }
    }

    /// Returns the number of key events so far.
    pub(crate) fn news(&self) -> u64 {
        match self {
            Self::Live(_) => 0,
            Self::Remote(remote) => remote.news(),
            Self::Pushed(pushed) => pushed.news(),
        }
    }

    /// Waits briefly for a key event after the first `news`.
    ///
    /// # Errors
    ///
    /// With the retry delay, when there is none.
    pub(crate) async fn news_since(&self, news: u64) -> Result<(), Duration> {
        match self {
            Self::Live(_) => Ok(()),
            Self::Remote(remote) => remote.news_since(news).await,
            Self::Pushed(pushed) => pushed.news_since(news).await,
        }
    }
}
