use std::time::SystemTime;

use token_interceptor::test_util::FakeClock;

use super::*;
use crate::{
    client::ClientId,
    feed::FeedSettings,
    store::{ChangeLog, LIFETIME_MARGIN},
    test_util::MemoryStore,
};

struct Setting {
    store: Arc<MemoryStore>,
    clock: Arc<FakeClock>,
}

impl Setting {
    async fn new() -> Self {
        Self { store: Arc::new(MemoryStore::new()), clock: Arc::default() }
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
        Revocation { target, revoked_before: now, forget_time: now + Duration::from_secs(lives), issued_to: None }
    }
}

fn targets(registry: &RevocationRegistry) -> Vec<TargetHash> {
    let part = registry.read(Position::default(), usize::MAX);
    part.entries.into_iter().map(|revoked| revoked.target).collect()
}

fn token(id: &str) -> TargetHash {
    TargetHash::of_token(id)
}

#[tokio::test]
async fn a_revocation_counts_at_once_and_after_a_restart() {
    let setting = Setting::new().await;
    let registry = setting.start().await;
    let revocation = setting.token("jti", 60);
    registry.revoke(revocation, None).await.unwrap();
    assert_eq!(targets(&registry), [token("jti")]);
    assert_eq!(targets(&setting.start().await), [token("jti")]);
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_revoked() {
    let setting = Setting::new().await;
    let registry = setting.start().await;
    crate::store::Store::close(&*setting.store).await;
    assert!(registry.revoke(setting.token("jti", 60), None).await.unwrap_err().is_transient());
    assert!(targets(&registry).is_empty());
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
    one.revoke(revocation, None).await.unwrap();
    let heard = revoked.wait_for(|end| *end > Position::default());
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
    let heard = revoked.wait_for(|end| *end > Position::default());
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
    assert_eq!(targets(&registry), [token("long")]);
    assert_eq!(setting.store.revocations(SystemTime::UNIX_EPOCH).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_later_of_two_revocations_holds_and_is_told_of() {
    let setting = Setting::new().await;
    let registry = setting.start().await;
    registry.revoke(setting.token("jti", 60), None).await.unwrap();
    let end = *registry.subscribe().borrow();
    registry.revoke(setting.token("jti", 30), None).await.unwrap();
    assert!(registry.read(end, 10).entries.is_empty());
    registry.revoke(setting.token("jti", 90), None).await.unwrap();
    assert_eq!(registry.read(end, 10).entries.len(), 1);
    assert_eq!(registry.digest(), setting.start().await.digest());
}

/// Steps are counted by reads of the list and by allocations, not by a clock.
#[tokio::test]
async fn revocations_are_loaded_in_one_step_and_added_one_by_one() {
    for entries in [1_000_u64, 100_000] {
        let setting = Setting::new().await;
        let registry = setting.start().await;
        let mut ends = registry.subscribe();
        registry.0.add((0..entries).map(|number| setting.token(&number.to_string(), 60)));
        assert!(ends.has_changed().unwrap());
        ends.borrow_and_update();
        assert_eq!(registry.verifying().len() as u64, entries);
        let end = *ends.borrow();
        registry.revoke(setting.token("one more", 60), None).await.unwrap();
        let part = registry.read(end, 10);
        assert_eq!(part.entries.len(), 1, "with {entries} before");
    }
}

#[tokio::test]
async fn tokens_of_a_client_are_counted_across_a_restart() {
    let setting = Setting::new().await;
    let registry = setting.start().await;
    let id = ClientId::try_from("orders").unwrap();
    for name in ["a", "b"] {
        let revocation = Revocation { issued_to: Some(id.clone()), ..setting.token(name, 600) };
        registry.revoke(revocation.clone(), None).await.unwrap();
        registry.revoke(revocation, None).await.unwrap();
    }
    assert_eq!(registry.tokens_of(&id), 2);
    assert_eq!(setting.start().await.tokens_of(&id), 2);
    let all = Revocation { target: RevocationTarget::Client(id.clone()), ..setting.token("", 600) };
    registry.revoke(all, None).await.unwrap();
    assert_eq!(registry.tokens_of(&id), 0);
}

#[tokio::test]
async fn a_lifetime_that_was_lowered_counts_until_its_tokens_have_expired() {
    const DAY: Duration = Duration::from_secs(86_400);
    const SHORT: Duration = Duration::from_secs(10);
    let setting = Setting::new().await;
    assert_eq!(setting.start().await.longest_lifetime(DAY).await.unwrap(), DAY);
    let lowered = setting.start().await;
    assert_eq!(lowered.longest_lifetime(SHORT).await.unwrap(), DAY);
    setting.clock.advance(DAY);
    assert_eq!(lowered.longest_lifetime(SHORT).await.unwrap(), DAY);
    setting.clock.advance(LIFETIME_MARGIN);
    assert_eq!(lowered.longest_lifetime(SHORT).await.unwrap(), SHORT);
}
