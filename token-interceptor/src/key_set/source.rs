//! Where an issuer's current keys come from: nowhere else, a fetch, or a push.

use std::{sync::Arc, time::Duration};

use super::{Candidates, Found, KeySet, pushed::PushedTrust, remote::RemoteKeySet, schedule::UnknownKey};
use crate::signature::{Algorithm, VerifyingKey};

#[derive(Debug)]
pub(crate) enum KeySource {
    Fixed(Arc<KeySet>),
    Remote(RemoteKeySet),
    Pushed(PushedTrust),
}

/// Where a token's `kid` and `alg` lead.
pub(crate) enum Lookup {
    Keys(Candidates),
    /// There is such a key, for another algorithm.
    OtherAlgorithm,
    Unknown(UnknownKey),
}

impl KeySource {
    /// Changes whenever a token that was good may be good no more for want of its key.
    pub(crate) fn version(&self) -> u64 {
        match self {
            Self::Fixed(_) => 0,
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

    /// Whether the issuer still publishes `key`.
    pub(crate) fn holds(&self, key: &Arc<VerifyingKey>) -> bool {
        self.keys().is_some_and(|keys| keys.holds(key))
    }

    /// Called for a token that none of the held keys has signed: a new set may be fetched.
    pub(crate) fn unknown_key(&self) -> UnknownKey {
        match self {
            Self::Fixed(_) => UnknownKey::Refuse,
            Self::Remote(remote) => remote.unknown_key(),
            Self::Pushed(pushed) => pushed.unknown_key(),
        }
    }

    fn keys(&self) -> Option<Arc<KeySet>> {
        match self {
            Self::Fixed(keys) => Some(Arc::clone(keys)),
            Self::Remote(remote) => remote.keys(),
            Self::Pushed(pushed) => pushed.keys(),
        }
    }

    /// Called for each verification, so that a set is fetched again whatever became of the task that does.
    pub(crate) fn keep_fresh(&self) {
        match self {
            Self::Remote(remote) => remote.keep_fresh(),
            Self::Fixed(_) | Self::Pushed(_) => {}
        }
    }

    /// Whether what is held is too old to go by.
    pub(crate) fn is_stale(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Remote(remote) => remote.is_stale(),
            Self::Pushed(pushed) => pushed.is_stale(),
        }
    }

    /// How often there was news of keys so far.
    pub(crate) fn news(&self) -> u64 {
        match self {
            Self::Fixed(_) => 0,
            Self::Remote(remote) => remote.news(),
            Self::Pushed(pushed) => pushed.news(),
        }
    }

    /// Waits a moment for news of keys that comes after the first `news`.
    ///
    /// # Errors
    ///
    /// With the time to wait, when none comes.
    pub(crate) async fn news_since(&self, news: u64) -> Result<(), Duration> {
        match self {
            Self::Fixed(_) => Ok(()),
            Self::Remote(remote) => remote.news_since(news).await,
            Self::Pushed(pushed) => pushed.news_since(news).await,
        }
    }
}
