//! The test double of the issuer's own tests passes the contract too.

use std::sync::Arc;

use token_issuer::{store::Store, test_util::MemoryStore};

async fn in_memory() -> Option<(Arc<dyn Store>, ())> {
    Some((Arc::new(MemoryStore::new()), ()))
}

crate::contract::contract!(in_memory);
