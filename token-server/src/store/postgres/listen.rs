//! Hears of other replicas' changes as they commit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use metrics::{counter, gauge};
use sqlx::{PgPool, postgres::PgListener};
use tokio::{sync::Notify, time::sleep};

use super::CHANNEL;

/// Between two attempts to listen. The follower of the log polls meanwhile.
const RETRY: Duration = Duration::from_secs(1);

/// Wakes `committed` at every notice, and after every time without a connection, during which notices may have
/// been lost; counts the connections that were lost. Ends with the pool.
pub(super) async fn listen(pool: PgPool, committed: Arc<Notify>, lost: Arc<AtomicU64>) {
    let heard = gauge!("token_server_change_feed_listening");
    while !pool.is_closed() {
        let ended = hear(&pool, &committed, &lost).await;
        heard.set(0.0);
        if let Err(error) = ended
            && !pool.is_closed()
        {
            tracing::warn!(%error, "not listening to other replicas' changes; polling meanwhile");
        }
        sleep(RETRY).await;
    }
}

/// Returns when the connection is lost. [`PgListener`] would connect again by itself and not say so in time.
async fn hear(pool: &PgPool, committed: &Notify, lost: &AtomicU64) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    gauge!("token_server_change_feed_listening").set(1.0);
    loop {
        committed.notify_one();
        let received = listener.try_recv().await;
        if !matches!(received, Ok(Some(_))) {
            lost.fetch_add(1, Ordering::Release);
            counter!("token_server_change_feed_connections_lost_total").increment(1);
            return received.map(drop);
        }
    }
}
