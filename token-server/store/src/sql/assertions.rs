//! Used client assertions.

use std::time::SystemTime;

use async_trait::async_trait;
use token_issuer::{
    store::{AssertionStore, StoreError},
    timestamp::to_millis,
};

use super::{Database, Purpose, SqlStore, Value};

#[async_trait]
impl<D: Database> AssertionStore for SqlStore<D> {
    async fn use_assertion(&self, hash: &[u8; 32], forget_time: SystemTime) -> Result<bool, StoreError> {
        let mut session = self.database.session(Purpose::Assertion).await?;
        // Not logged as a change, because no cache holds it.
        let insert = "INSERT INTO used_assertion (hash, forget_time) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let used = session.execute(insert, &[Value::Bytes(hash), to_millis(forget_time).into()]).await?;
        Ok(used == 1)
    }

    async fn purge_assertions(&self, now: SystemTime) -> Result<u64, StoreError> {
        let mut session = self.database.session(Purpose::Write).await?;
        session.execute("DELETE FROM used_assertion WHERE forget_time <= $1", &[to_millis(now).into()]).await
    }
}
