//! Clients, from memory.

use std::{sync::Arc, time::SystemTime};

use super::{Client, ClientId};
use crate::store::{Store, StoreError};

/// Clients by their ID.
#[derive(Clone, Debug)]
pub struct ClientRegistry {
    store: Arc<dyn Store>,
}

impl ClientRegistry {
    /// Clients of `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The client of that ID, where there is one.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn find(&self, id: &ClientId) -> Result<Option<Arc<Client>>, StoreError> {
        Ok(self.store.client(id).await?.map(Arc::new))
    }

    /// Notes that a credential was used.
    pub fn credential_used(&self, id: &ClientId, credential_id: &str, now: SystemTime) {
        let _ = (id, credential_id, now);
    }
}
