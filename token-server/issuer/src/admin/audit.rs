//! The audit records of changes, for operators to read.

use std::{fmt, sync::Arc};

use super::{AdminError, page};
use crate::store::{AdminAuditStore, AdminRecord, AdminRecordFilter};

/// Read access to the audit records. Cheap to clone.
#[derive(Clone)]
pub struct AuditAdmin {
    store: Arc<dyn AdminAuditStore>,
}

/// One page of audit records.
#[derive(Debug)]
pub struct AuditPage {
    /// The records with their numbers, newest first.
    pub records: Vec<(u64, AdminRecord)>,
    /// The token that requests the next page; empty on the last page.
    pub next_page_token: String,
}

impl AuditAdmin {
    /// Creates an `AuditAdmin` over the records in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn AdminAuditStore>) -> Self {
        Self { store }
    }

    /// Returns one page of the records that match `filter`, newest first.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] for a negative page size, or a page token that was not issued for the same
    /// filter. Also returns the store's errors.
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
