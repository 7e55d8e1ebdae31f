//! The last uses of credentials: collected in memory, to the minute, and saved in batches.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use crate::{
    client::ClientId,
    store::{ClientStore, CredentialUse, StoreError},
};

/// The most clients with unsaved uses. Further clients are recorded after the next save.
const CLIENTS_MAX: usize = 16_384;
/// Uses saved in one transaction. It bounds the time that other writers wait.
const BATCH: usize = 500;

/// For each client, its credentials and the minute of their last use. A client uses one or two.
type Pending = HashMap<ClientId, Vec<(String, u64)>>;

/// Uses that are not saved yet.
#[derive(Default)]
pub(super) struct Uses(Mutex<Pending>);

impl Uses {
    pub(super) fn note(&self, id: &ClientId, credential_id: &str, now: SystemTime) {
        let minute = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() / 60);
        let mut pending = self.pending();
        if let Some(credentials) = pending.get_mut(id) {
            match credentials.iter_mut().find(|(known, _)| known == credential_id) {
                Some((_, noted)) => *noted = minute.max(*noted),
                None => credentials.push((credential_id.to_owned(), minute)),
            }
        } else if pending.len() < CLIENTS_MAX {
            pending.insert(id.clone(), vec![(credential_id.to_owned(), minute)]);
        }
    }

    pub(super) async fn write(&self, store: &dyn ClientStore) -> Result<(), StoreError> {
        let uses = self.take();
        for (place, batch) in uses.chunks(BATCH).enumerate() {
            if let Err(error) = store.credentials_used(batch).await {
                for used in uses.iter().skip(place * BATCH) {
                    self.note(&used.client_id, &used.credential_id, used.time);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn take(&self) -> Vec<CredentialUse> {
        let pending = std::mem::take(&mut *self.pending());
        let uses = pending.into_iter().flat_map(|(client_id, credentials)| {
            credentials.into_iter().map(move |(credential_id, minute)| CredentialUse {
                client_id: client_id.clone(),
                credential_id,
                time: SystemTime::UNIX_EPOCH + Duration::from_secs(minute * 60),
            })
        });
        uses.collect()
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_stay_within_their_capacity() {
        let uses = Uses::default();
        for n in 0..2 * CLIENTS_MAX {
            uses.note(&ClientId::try_from(&*format!("client-{n}")).unwrap(), "1", SystemTime::UNIX_EPOCH);
        }
        assert_eq!(uses.pending().len(), CLIENTS_MAX);
    }
}
