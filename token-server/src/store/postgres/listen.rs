//! Hears of other replicas' changes as they commit, and finds the server that can be written to after a failover.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use metrics::{counter, gauge};
use sqlx::{
    Executor as _, PgPool,
    postgres::{PgConnectOptions, PgListener},
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    CHANNEL,
    connect::{self, PATIENCE},
};
use crate::error_chain;

/// Between two attempts to listen. The follower of the log polls meanwhile.
const RETRY: Duration = Duration::from_secs(1);
/// A connection that was silent for this long is asked whether it still is one: a route that is gone sends no word.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Whom a notice reaches.
pub(super) struct Heard {
    pub(super) committed: Arc<Notify>,
    pub(super) connections_lost: Arc<AtomicU64>,
}

/// Wakes `committed` at every notice, and after every time without a connection, during which notices may have
/// been lost; counts the connections that were lost. Where there are several servers, all pools connect to the one that
/// can be written to from then on. Ends with the pools.
pub(super) async fn listen(pools: [PgPool; 3], servers: Vec<PgConnectOptions>, heard: Heard) {
    let [pool, ..] = &pools;
    let listening = gauge!("token_server_change_feed_listening");
    while !pool.is_closed() {
        let ended = hear(pool, &heard).await;
        listening.set(0.0);
        if let Err(error) = ended
            && !pool.is_closed()
        {
            let error = error_chain::of(&error);
            tracing::warn!(error, "not listening to other replicas' changes; polling meanwhile");
        }
        sleep(RETRY).await;
        if servers.len() > 1
            && !pool.is_closed()
            && let Ok(server) = connect::writable(&servers).await
        {
            pools.iter().for_each(|pool| pool.set_connect_options(server.clone()));
        }
    }
}

/// Returns when the connection is lost. [`PgListener`] would connect again by itself and not say so in time.
async fn hear(pool: &PgPool, heard: &Heard) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    gauge!("token_server_change_feed_listening").set(1.0);
    let ended = loop {
        heard.committed.notify_one();
        match timeout(SILENCE_MAX, listener.try_recv()).await {
            Ok(Ok(Some(_))) => {}
            Ok(ended) => break ended.map(drop),
            Err(_) => match timeout(PATIENCE, (&mut listener).execute(sqlx::raw_sql("SELECT 1"))).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => break Err(error),
                Err(_) => break Err(sqlx::Error::PoolTimedOut),
            },
        }
    };
    heard.connections_lost.fetch_add(1, Ordering::Release);
    counter!("token_server_change_feed_connections_lost_total").increment(1);
    ended
}
