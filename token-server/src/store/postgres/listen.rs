//! Hears of other replicas' changes as they commit.

use std::{sync::Arc, time::Duration};

use sqlx::{PgPool, postgres::PgListener};
use tokio::{sync::Notify, time::sleep};

use super::CHANNEL;

/// Between two attempts to listen. The follower of the log polls meanwhile.
const RETRY: Duration = Duration::from_secs(1);

/// Wakes `committed` at every notice, and after every time without a connection, during which notices may have
/// been lost. Ends with the pool.
pub(super) async fn listen(pool: PgPool, committed: Arc<Notify>) {
    while !pool.is_closed() {
        if let Err(error) = hear(&pool, &committed).await {
            tracing::warn!(%error, "not listening to other replicas' changes; polling meanwhile");
        }
        sleep(RETRY).await;
    }
}

async fn hear(pool: &PgPool, committed: &Notify) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        committed.notify_one();
        // `None`: the connection was lost. A new one is made; what was sent meanwhile was not heard.
        let _ = listener.try_recv().await?;
    }
}
