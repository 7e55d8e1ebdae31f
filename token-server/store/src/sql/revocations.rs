//! Revocations.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use token_issuer::{
    client::ClientId,
    store::{AdminRecord, ChangeKind, LIFETIME_MARGIN, Revocation, RevocationStore, RevocationTarget, StoreError},
    timestamp::to_millis,
};

use super::{Database, Dialect, Purpose, Row, Session, SqlStore, log_change, maybe, one};
use crate::row;

#[async_trait]
impl<D: Database> RevocationStore for SqlStore<D> {
    async fn revoke(&self, revocation: &Revocation, audit: Option<&AdminRecord>) -> Result<(), StoreError> {
        let mut change = self.database.change().await?;
        put(&mut *change, self.database.dialect(), revocation).await?;
        self.database.commit(change, audit).await
    }

    async fn revocations(&self, now: SystemTime) -> Result<Vec<Revocation>, StoreError> {
        let mut session = self.database.session(Purpose::Read).await?;
        let select = "SELECT kind, target, revoked_before, forget_time, issued_to FROM revocation
                      WHERE forget_time > $1 ORDER BY kind, target";
        session.rows(select, &[to_millis(now).into()]).await?.iter().map(revocation).collect()
    }

    async fn revocation(&self, target: &RevocationTarget) -> Result<Option<Revocation>, StoreError> {
        let (kind, target) = row::target_columns(target);
        let mut session = self.database.session(Purpose::Read).await?;
        let select = "SELECT kind, target, revoked_before, forget_time, issued_to FROM revocation
                      WHERE kind = $1 AND target = $2";
        maybe(&mut *session, select, &[kind.into(), target.into()]).await?.as_ref().map(revocation).transpose()
    }

    async fn purge_revocations(&self, now: SystemTime) -> Result<u64, StoreError> {
        let mut session = self.database.session(Purpose::Write).await?;
        // Not a change: each process forgets them at the same time by itself.
        session.execute(self.database.dialect().purge_revocations, &[to_millis(now).into()]).await
    }

    async fn longest_lifetime(&self, configured: Duration, now: SystemTime) -> Result<Duration, StoreError> {
        let mut session = self.database.session(Purpose::Write).await?;
        let insert = "INSERT INTO token_lifetime (lifetime, last_time) VALUES ($1, $2)
                      ON CONFLICT (lifetime) DO UPDATE SET last_time = CASE
                          WHEN token_lifetime.last_time > excluded.last_time THEN token_lifetime.last_time
                          ELSE excluded.last_time
                      END";
        session.execute(insert, &[row::millis(configured).into(), to_millis(now).into()]).await?;
        let select = "SELECT max(lifetime) FROM token_lifetime WHERE last_time + lifetime > $1";
        let valid_after = to_millis(now).saturating_sub(row::millis(LIFETIME_MARGIN));
        row::lifetime(one(&mut *session, select, &[valid_after.into()]).await?.get(0)?, configured)
    }
}

/// Adds a revocation within a change. If the target is revoked already, the later times count.
pub(super) async fn put(
    session: &mut dyn Session,
    dialect: &Dialect,
    revocation: &Revocation,
) -> Result<(), StoreError> {
    log_change(session, dialect, &ChangeKind::Revocation(revocation.target.clone())).await?;
    let (kind, target) = row::target_columns(&revocation.target);
    let insert = "INSERT INTO revocation (kind, target, revoked_before, forget_time, issued_to)
                  VALUES ($1, $2, $3, $4, $5)
                  ON CONFLICT (kind, target) DO UPDATE SET
                      revoked_before = CASE
                          WHEN revocation.revoked_before > excluded.revoked_before THEN revocation.revoked_before
                          ELSE excluded.revoked_before
                      END,
                      forget_time = CASE
                          WHEN revocation.forget_time > excluded.forget_time THEN revocation.forget_time
                          ELSE excluded.forget_time
                      END";
    let issued_to = revocation.issued_to.as_ref().map(ClientId::as_str);
    let times = [revocation.revoked_before, revocation.forget_time].map(to_millis);
    let [revoked_before, forget_time] = times.map(Into::into);
    session.execute(insert, &[kind.into(), target.into(), revoked_before, forget_time, issued_to.into()]).await?;
    Ok(())
}

fn revocation(row: &Row) -> Result<Revocation, StoreError> {
    row::revocation((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}
