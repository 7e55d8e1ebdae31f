//! The number of secrets stored under each pepper. It tells an operator when an old pepper can be removed.
//!
//! A background task counts them in the store, a page at a time, and rests far longer than it works. For a
//! million clients it takes minutes and a fiftieth of a core. No request waits for it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use metrics::gauge;
use token_interceptor::clock::Clock;
use token_interceptor::error_chain;
use tokio::time::{Instant, sleep};

use crate::{
    client::{Client, Credential, CredentialKind, SecretHash, secret::Peppers},
    feed::{Event, Feed, Subscription},
    store::{ChangeKind, ClientStore, StoreError},
};

/// Clients read in one query.
const PAGE: u32 = 500;
/// The ratio of rest to work.
const REST: u32 = 50;
/// The delay after a change, because changes often come in groups.
const SETTLE: Duration = Duration::from_secs(1);
/// The interval of counting without a change, because secrets expire.
const INTERVAL: Duration = Duration::from_secs(600);

/// The counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct InUse {
    current: u32,
    previous: u32,
    /// Secrets under a pepper that this server does not have. A client that presents such a secret is
    /// rejected.
    unknown: u32,
    /// Imported secrets, which no pepper keys.
    imported: u32,
}

/// No secret in the store is stored under one of this server's peppers.
///
/// The pepper is wrong, and every client with a secret would be rejected. In a rolling update, such a replica
/// must fail at its start and not replace one that works.
#[derive(Debug, thiserror::Error)]
#[error(
    "the pepper is not the one of this store: no client secret is stored under it ({secrets} are under others). A former \
     pepper belongs in [secrets] previous_pepper_files"
)]
pub struct WrongPepper {
    secrets: u32,
}

/// Fails if the store has live secrets and none of them is under a pepper of `peppers`.
///
/// Reads until the first secret that matches. In a store that this server has used, that is on the first
/// page.
pub async fn expect_to_fit(
    store: &dyn ClientStore,
    peppers: &Peppers,
    now: SystemTime,
) -> Result<Result<(), WrongPepper>, StoreError> {
    let (mut in_use, mut after) = (InUse::default(), None);
    loop {
        let page = store.clients(after.as_ref(), PAGE).await?;
        in_use.add_live(&page, peppers, now);
        if in_use.current + in_use.previous > 0 {
            return Ok(Ok(()));
        }
        match page.last() {
            Some(last) if page.len() >= PAGE as usize => after = Some(last.id.clone()),
            Some(_) | None => break,
        }
    }
    Ok(if in_use.unknown > 0 { Err(WrongPepper { secrets: in_use.unknown }) } else { Ok(()) })
}

/// Counts now, after each change of a client, and every few minutes, until the feed ends.
pub fn follow(store: Arc<dyn ClientStore>, peppers: Peppers, clock: Arc<dyn Clock>, feed: &Feed) {
    let mut events = feed.subscribe();
    tokio::spawn(async move {
        let mut unknown = 0;
        loop {
            match count(&*store, &peppers, &*clock, REST).await {
                Ok(in_use) => {
                    in_use.tell();
                    in_use.warn(&mut unknown);
                }
                Err(error) => tracing::warn!(error = %error_chain::of(&error), "secrets cannot be counted by pepper"),
            }
            if !change(&mut events).await {
                return;
            }
            sleep(SETTLE).await;
        }
    });
}

/// Waits until the counts may have changed. Returns false when the feed has ended.
async fn change(events: &mut Subscription) -> bool {
    let interval = sleep(INTERVAL);
    tokio::pin!(interval);
    loop {
        tokio::select! {
            event = events.next() => match event {
                None => return false,
                Some(Event::Changed(ChangeKind::Client(_)) | Event::Resync) => return true,
                Some(Event::Changed(ChangeKind::Keys | ChangeKind::Revocation(_)) | Event::Stale) => {}
            },
            () = &mut interval => return true,
        }
    }
}

async fn count(store: &dyn ClientStore, peppers: &Peppers, clock: &dyn Clock, rest: u32) -> Result<InUse, StoreError> {
    let (mut in_use, mut after) = (InUse::default(), None);
    loop {
        let begun = Instant::now();
        let page = store.clients(after.as_ref(), PAGE).await?;
        in_use.add_live(&page, peppers, clock.now());
        match page.last() {
            Some(last) if page.len() >= PAGE as usize => after = Some(last.id.clone()),
            Some(_) | None => return Ok(in_use),
        }
        sleep(begun.elapsed() * rest).await;
    }
}

impl InUse {
    fn add_live(&mut self, clients: &[Client], peppers: &Peppers, now: SystemTime) {
        let credentials = clients.iter().flat_map(|client| &client.credentials);
        credentials.filter(|credential| credential.is_live(now)).for_each(|live| self.add(live, peppers));
    }

    /// Logs the number of secrets that cannot be verified, if it differs from `before`.
    fn warn(self, before: &mut u32) {
        if self.unknown > 0 && self.unknown != *before {
            tracing::error!(
                secrets = self.unknown,
                "client secrets are stored under a pepper that this server does not have, so clients that present them are \
                 rejected. Add the former pepper to [secrets] previous_pepper_files"
            );
        }
        *before = self.unknown;
    }

    fn add(&mut self, credential: &Credential, peppers: &Peppers) {
        match &credential.kind {
            CredentialKind::Secret(SecretHash::Hmac { pepper_id, .. }) => {
                match peppers.ids().position(|id| id == pepper_id) {
                    Some(0) => self.current += 1,
                    Some(_) => self.previous += 1,
                    None => self.unknown += 1,
                }
            }
            CredentialKind::Secret(SecretHash::Argon2id { .. }) => self.imported += 1,
            CredentialKind::PublicKey(_) | CredentialKind::FederatedIdentity(_) => {}
        }
    }

    fn tell(self) {
        let counts = [
            ("current", self.current),
            ("previous", self.previous),
            ("unknown", self.unknown),
            ("none", self.imported),
        ];
        for (pepper, number) in counts {
            gauge!("token_server_client_secrets", "pepper" => pepper).set(f64::from(number));
        }
    }
}

#[cfg(test)]
mod tests {
    use token_interceptor::clock::SystemClock;

    use super::*;
    use crate::{
        client::{
            ClientId,
            secret::{ClientSecret, Pepper},
        },
        key_material::KeyMaterial,
        test_util::MemoryStore,
    };

    fn peppers(current: u8, previous: &[u8]) -> Peppers {
        let pepper = |byte: &u8| Pepper::new(&KeyMaterial::from_bytes([*byte; 32]));
        Peppers::new(pepper(&current), previous.iter().map(pepper).collect())
    }

    fn credential(id: &str, pepper: u8, expire_time: Option<SystemTime>) -> Credential {
        Credential {
            id: id.to_owned(),
            kind: CredentialKind::Secret(peppers(pepper, &[]).hash(&ClientSecret::generate().unwrap())),
            create_time: SystemTime::UNIX_EPOCH,
            expire_time,
            last_used_time: None,
        }
    }

    #[tokio::test]
    async fn live_secrets_of_every_page_are_counted_by_their_pepper() {
        let store = MemoryStore::new();
        let mut client = Client::new(ClientId::try_from("first").unwrap(), SystemTime::UNIX_EPOCH);
        let expired = credential("expired", 1, Some(SystemTime::UNIX_EPOCH));
        let imported = CredentialKind::Secret(Peppers::hash_imported("hunter2").unwrap());
        let imported = Credential { kind: imported, ..credential("imported", 1, None) };
        client.credentials = vec![credential("old", 1, None), credential("new", 2, None), expired, imported];
        store.create_client(&client, None).await.unwrap();
        for number in 0..PAGE {
            let id = ClientId::try_from(format!("n{number}").as_str()).unwrap();
            let mut client = Client::new(id, SystemTime::UNIX_EPOCH);
            client.credentials = vec![credential("only", 3, None)];
            store.create_client(&client, None).await.unwrap();
        }
        let clock = SystemClock::shared();
        let in_use = async |peppers: Peppers| count(&store, &peppers, &*clock, 0).await.unwrap();
        assert_eq!(in_use(peppers(2, &[1])).await, InUse { current: 1, previous: 1, unknown: PAGE, imported: 1 });
        assert_eq!(in_use(peppers(3, &[2, 1])).await, InUse { current: PAGE, previous: 2, unknown: 0, imported: 1 });
    }

    #[tokio::test]
    async fn a_pepper_that_fits_no_secret_is_refused_and_any_other_is_not() {
        let store = MemoryStore::new();
        let now = SystemTime::UNIX_EPOCH;
        let fits = async |peppers: Peppers| expect_to_fit(&store, &peppers, now).await.unwrap().is_ok();
        assert!(fits(peppers(9, &[])).await, "a store without clients");
        // More than one page; the clients on the first page have no secret.
        for number in 0..=PAGE {
            let mut client = Client::new(ClientId::try_from(format!("n{number:04}").as_str()).unwrap(), now);
            if number == PAGE {
                client.credentials = vec![credential("old", 1, None), credential("expired", 9, Some(now))];
            }
            store.create_client(&client, None).await.unwrap();
        }
        assert!(!fits(peppers(9, &[])).await);
        assert!(fits(peppers(1, &[])).await);
        assert!(fits(peppers(9, &[2, 1])).await);
    }
}
