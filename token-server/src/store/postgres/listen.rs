//! Hears of other replicas' changes as they commit.

use std::{sync::Arc, time::Duration};

use metrics::{Gauge, counter, gauge};
use sqlx::{PgPool, postgres::PgListener};
use tokio::{sync::Notify, time::sleep};

use super::CHANNEL;

/// Between two attempts to listen. The follower of the log polls meanwhile.
const RETRY: Duration = Duration::from_secs(1);

/// Wakes `committed` at every notice, and after every time without a connection, during which notices may have
/// been lost. Ends with the pool.
pub(super) async fn listen(pool: PgPool, committed: Arc<Notify>) {
    let heard = gauge!("token_server_change_feed_listening");
    while !pool.is_closed() {
        let ended = hear(&pool, &committed, &heard).await;
        heard.set(0.0);
        if let Err(error) = ended
            && !pool.is_closed()
        {
            tracing::warn!(%error, "not listening to other replicas' changes; polling meanwhile");
        }
        sleep(RETRY).await;
    }
}

async fn hear(pool: &PgPool, committed: &Notify, heard: &Gauge) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    heard.set(1.0);
    loop {
        committed.notify_one();
        let received = listener.try_recv().await;
        // `None`: the connection was lost, and there is a new one; what was sent meanwhile was not heard.
        if !matches!(received, Ok(Some(_))) {
            counter!("token_server_change_feed_connections_lost_total").increment(1);
        }
        received?;
    }
}
