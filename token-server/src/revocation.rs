//! Revocations, from memory: few, each expires, and all of them are needed at every check.
//!
//! A revocation is stored first, then counts in this process at once, and in every other within a second,
//! through the change feed. RFC 7009; nothing is written when a token is issued.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use token_interceptor::{clock::Clock, revocation::Revocations};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    error_chain,
    feed::{Event, Feed, Subscription},
    store::{AdminRecord, ChangeKind, Revocation, RevocationStore, RevocationTarget, StoreError},
};

/// How often what has expired is removed, from memory and from the store.
const PURGE_INTERVAL: Duration = Duration::from_secs(600);
/// After a failed read, how long until the next.
const RETRY: Duration = Duration::from_secs(1);

/// What is revoked now, by its target.
pub type Revoked = Arc<BTreeMap<RevocationTarget, Revocation>>;

/// The revocations of this issuer. Cheap to clone; every clone shares them.
#[derive(Clone, Debug)]
pub struct RevocationRegistry(Arc<Shared>);

struct Shared {
    store: Arc<dyn RevocationStore>,
    clock: Arc<dyn Clock>,
    revoked: watch::Sender<Revoked>,
    /// The same, as this project's own verifier asks for it.
    verifying: Revocations,
}

impl RevocationRegistry {
    /// Reads what is revoked.
    ///
    /// # Errors
    ///
    /// When the store cannot be read: a server that does not know what is revoked must not say what is good.
    pub async fn start(store: Arc<dyn RevocationStore>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let revoked = watch::Sender::new(Revoked::default());
        let registry = Self(Arc::new(Shared { store, clock, revoked, verifying: Revocations::new() }));
        registry.0.read_all().await?;
        Ok(registry)
    }

    /// Takes over what other processes revoke, and forgets what has expired, until feed or registry end.
    pub fn follow(&self, feed: &Feed) {
        tokio::spawn(follow(Arc::downgrade(&self.0), feed.subscribe()));
    }

    /// Revokes. Counts here when this returns.
    ///
    /// # Errors
    ///
    /// The store's; nothing is revoked then.
    pub async fn revoke(&self, revocation: Revocation, audit: Option<&AdminRecord>) -> Result<(), StoreError> {
        self.0.store.revoke(&revocation, audit).await?;
        self.0.add(revocation);
        Ok(())
    }

    /// What is revoked now.
    #[must_use]
    pub fn revoked(&self) -> Revoked {
        Arc::clone(&self.0.revoked.borrow())
    }

    /// The same, and each change to it.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Revoked> {
        self.0.revoked.subscribe()
    }

    /// For a verifier of this issuer's tokens within this process.
    #[must_use]
    pub fn verifying(&self) -> &Revocations {
        &self.0.verifying
    }
}

impl Shared {
    async fn read_all(&self) -> Result<(), StoreError> {
        for revocation in self.store.revocations(self.clock.now()).await? {
            self.add(revocation);
        }
        Ok(())
    }

    async fn read(&self, target: &RevocationTarget) -> Result<(), StoreError> {
        if let Some(revocation) = self.store.revocation(target).await? {
            self.add(revocation);
        }
        Ok(())
    }

    /// Nothing revoked is ever good again: entries are added and replaced by later ones, never taken back.
    fn add(&self, revocation: Revocation) {
        let added = revocation.clone();
        let news = self.revoked.send_if_modified(|revoked| {
            let known = revoked.get(&revocation.target);
            let news = known.is_none_or(|known| {
                known.revoked_before < revocation.revoked_before || known.forget_time < revocation.forget_time
            });
            if news {
                Arc::make_mut(revoked).insert(revocation.target.clone(), revocation);
            }
            news
        });
        if news {
            self.verify_against(&added);
        }
    }

    fn verify_against(&self, revocation: &Revocation) {
        let forget = revocation.forget_time;
        match &revocation.target {
            RevocationTarget::TokenId(id) => self.verifying.revoke_token(id.as_str(), forget),
            RevocationTarget::Client(id) => {
                self.verifying.revoke_client(id.as_str(), revocation.revoked_before, forget)
            }
        }
    }

    async fn purge(&self, now: SystemTime) {
        self.verifying.forget(now);
        self.revoked.send_if_modified(|revoked| {
            let expired = revoked.values().any(|revocation| revocation.forget_time <= now);
            if expired {
                Arc::make_mut(revoked).retain(|_, revocation| revocation.forget_time > now);
            }
            expired
        });
        if let Err(error) = self.store.purge_revocations(now).await {
            tracing::warn!(error = %error_chain::of(&error), "expired revocations cannot be removed");
        }
    }
}

enum Due {
    Read(RevocationTarget),
    ReadAll,
    Purge,
}

async fn follow(shared: Weak<Shared>, mut events: Subscription) {
    // Something may have been revoked between the first read and the subscription.
    let mut behind = true;
    let mut purge = Instant::now() + PURGE_INTERVAL;
    let mut retry = Instant::now();
    loop {
        let due = tokio::select! {
            event = events.next() => match event {
                Some(Event::Changed(ChangeKind::Revocation(target))) => Due::Read(target),
                Some(Event::Resync) => Due::ReadAll,
                Some(Event::Changed(ChangeKind::Client(_) | ChangeKind::Keys) | Event::Stale) => continue,
                None => return,
            },
            () = sleep_until(retry), if behind => Due::ReadAll,
            () = sleep_until(purge) => Due::Purge,
        };
        let Some(shared) = shared.upgrade() else { return };
        let read = match due {
            Due::Read(target) => shared.read(&target).await,
            Due::ReadAll => shared.read_all().await.inspect(|()| behind = false),
            Due::Purge => {
                purge = Instant::now() + PURGE_INTERVAL;
                shared.purge(shared.clock.now()).await;
                Ok(())
            }
        };
        if let Err(error) = read {
            tracing::warn!(error = %error_chain::of(&error), "revocations cannot be read; trying again");
            (behind, retry) = (true, Instant::now() + RETRY);
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("revoked", &self.revoked.borrow().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use token_interceptor::test_util::FakeClock;

    use super::*;
    use crate::{
        client::ClientId,
        feed::FeedSettings,
        store::{ChangeLog, sqlite::SqliteStore},
    };

    struct Setting {
        store: Arc<SqliteStore>,
        clock: Arc<FakeClock>,
    }

    impl Setting {
        async fn new() -> Self {
            Self { store: Arc::new(SqliteStore::open_in_memory().await.unwrap()), clock: Arc::default() }
        }

        async fn start(&self) -> RevocationRegistry {
            let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
            RevocationRegistry::start(Arc::clone(&self.store) as _, clock).await.unwrap()
        }

        async fn feed(&self) -> Feed {
            let log = Arc::clone(&self.store) as Arc<dyn ChangeLog>;
            Feed::start(log, FeedSettings::default()).await.unwrap()
        }

        fn token(&self, id: &str, lives: u64) -> Revocation {
            let now = self.clock.now();
            let target = RevocationTarget::TokenId(id.to_owned());
            Revocation { target, revoked_before: now, forget_time: now + Duration::from_secs(lives) }
        }
    }

    fn targets(registry: &RevocationRegistry) -> Vec<RevocationTarget> {
        registry.revoked().keys().cloned().collect()
    }

    #[tokio::test]
    async fn a_revocation_counts_at_once_and_after_a_restart() {
        let setting = Setting::new().await;
        let registry = setting.start().await;
        let revocation = setting.token("jti", 60);
        registry.revoke(revocation.clone(), None).await.unwrap();
        assert_eq!(targets(&registry), std::slice::from_ref(&revocation.target));
        assert_eq!(targets(&setting.start().await), [revocation.target]);
    }

    #[tokio::test]
    async fn what_cannot_be_stored_is_not_revoked() {
        let setting = Setting::new().await;
        let registry = setting.start().await;
        crate::store::Store::close(&*setting.store).await;
        assert!(registry.revoke(setting.token("jti", 60), None).await.unwrap_err().is_transient());
        assert!(registry.revoked().is_empty());
    }

    #[tokio::test]
    async fn a_revocation_elsewhere_counts_here_through_the_feed() {
        let setting = Setting::new().await;
        let (one, other) = (setting.start().await, setting.start().await);
        let feed = setting.feed().await;
        other.follow(&feed);
        let mut revoked = other.subscribe();
        let id = ClientId::try_from("orders").unwrap();
        let revocation = Revocation { target: RevocationTarget::Client(id), ..setting.token("", 60) };
        one.revoke(revocation.clone(), None).await.unwrap();
        let heard = revoked.wait_for(|revoked| revoked.contains_key(&revocation.target));
        tokio::time::timeout(Duration::from_secs(10), heard).await.expect("heard of it").unwrap();
    }

    #[tokio::test]
    async fn what_was_revoked_before_following_is_not_missed() {
        let setting = Setting::new().await;
        let (one, other) = (setting.start().await, setting.start().await);
        one.revoke(setting.token("jti", 60), None).await.unwrap();
        let feed = setting.feed().await;
        let mut revoked = other.subscribe();
        other.follow(&feed);
        let heard = revoked.wait_for(|revoked| !revoked.is_empty());
        tokio::time::timeout(Duration::from_secs(10), heard).await.expect("heard of it").unwrap();
    }

    #[tokio::test]
    async fn followers_are_not_told_the_same_twice() {
        let setting = Setting::new().await;
        let registry = setting.start().await;
        let revocation = setting.token("jti", 60);
        registry.revoke(revocation.clone(), None).await.unwrap();
        let revoked = registry.subscribe();
        registry.revoke(revocation, None).await.unwrap();
        assert!(!revoked.has_changed().unwrap());
    }

    #[tokio::test]
    async fn what_has_expired_is_forgotten_here_and_in_the_store() {
        let setting = Setting::new().await;
        let registry = setting.start().await;
        registry.revoke(setting.token("short", 60), None).await.unwrap();
        registry.revoke(setting.token("long", 120), None).await.unwrap();
        setting.clock.advance(Duration::from_secs(60));
        registry.0.purge(setting.clock.now()).await;
        let long = RevocationTarget::TokenId("long".to_owned());
        assert_eq!(targets(&registry), std::slice::from_ref(&long));
        assert_eq!(setting.store.revocations(SystemTime::UNIX_EPOCH).await.unwrap().len(), 1);
    }
}
