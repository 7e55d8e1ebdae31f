//! Listens for other replicas' commits, and finds the writable server after a failover.

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
use token_interceptor::error_chain;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    CHANNEL,
    connect::{self, PATIENCE},
};

/// The time between two attempts to listen. The follower polls the log in the meantime.
const RETRY: Duration = Duration::from_secs(1);
/// The silence after which a connection is checked, because a broken network route reports no error.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// The receivers of notices.
pub(super) struct Heard {
    pub(super) committed: Arc<Notify>,
    pub(super) connections_lost: Arc<AtomicU64>,
}

/// Wakes `committed` at every notice, and after every reconnection, because notices may have been lost.
/// Counts lost connections. If the URL names several servers, all pools then switch to the writable one. Ends
/// when the pools close.
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

/// Returns when the connection is lost. [`PgListener`] would reconnect silently and report it too late.
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
