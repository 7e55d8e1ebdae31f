//! Who changed what, read back.

use std::{fmt, sync::Arc};

use super::{AdminError, page};
use crate::store::{AdminAuditStore, AdminRecord, AdminRecordFilter};

/// The record of changes, as operators read it. Cheap to clone.
#[derive(Clone)]
pub struct AuditAdmin {
    store: Arc<dyn AdminAuditStore>,
}

/// One page of records.
#[derive(Debug)]
pub struct AuditPage {
    /// With their numbers, the newest first.
    pub records: Vec<(u64, AdminRecord)>,
    /// Asks for the next page; empty on the last.
    pub next_page_token: String,
}

impl AuditAdmin {
    /// The records of `store`.
    #[must_use]
    pub fn new(store: Arc<dyn AdminAuditStore>) -> Self {
        Self { store }
    }

    /// Reads a page of the records that fit `filter`, the newest first.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] for a negative size or a token that was not handed out here for the same filter;
    /// the store's.
    pub async fn list(
        &self,
        filter: &AdminRecordFilter,
        page_size: i32,
        page_token: &str,
    ) -> Result<AuditPage, AdminError> {
        let (size, question) = (page::size(page_size)?, format!("{filter:?}"));
        let before = page::after(&question, page_token)?.map(|last| last.parse().map_err(|_| page::foreign()));
        let mut records = self.store.admin_records(filter, before.transpose()?, size + 1).await?;
        let next = page::cut(&mut records, size).map(|(number, _)| page::token(&question, &number.to_string()));
        Ok(AuditPage { next_page_token: next.unwrap_or_default(), records })
    }
}

impl fmt::Debug for AuditAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditAdmin").finish_non_exhaustive()
    }
}
