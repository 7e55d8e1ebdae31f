//! Calls that continue while their token is renewed, and the time of the slowest.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use token_interceptor::{
    attach::Attach,
    source::{IssuedToken, SourceError, TokenRequest, TokenSource},
};
use tonic::transport::Channel;

use crate::application::pb::{GetItemRequest, inventory_service_client::InventoryServiceClient};

/// The lifetime that is requested.
pub const LIFETIME: Duration = Duration::from_secs(6);
/// The extra time that each request for a token takes.
const DELAY: Duration = Duration::from_millis(500);
/// Calls in flight at any time.
const CONCURRENCY: usize = 8;

/// A slow source that counts its requests.
pub struct Slow<S> {
    source: S,
    fetched: AtomicU32,
    out_of_reach: AtomicBool,
}

impl<S> Slow<S> {
    /// Slows down `source`.
    pub fn new(source: S) -> Self {
        Self { source, fetched: AtomicU32::new(0), out_of_reach: AtomicBool::new(false) }
    }

    /// True if the issuer did not answer the last request.
    pub fn out_of_reach(&self) -> bool {
        self.out_of_reach.load(Ordering::Relaxed)
    }
}

#[async_trait::async_trait]
impl<S: TokenSource> TokenSource for Slow<S> {
    async fn fetch(&self, request: &TokenRequest) -> Result<IssuedToken, SourceError> {
        tokio::time::sleep(DELAY).await;
        let issued = self.source.fetch(request).await;
        self.out_of_reach.store(issued.as_ref().is_err_and(SourceError::is_transient), Ordering::Relaxed);
        self.fetched.fetch_add(u32::from(issued.is_ok()), Ordering::Relaxed);
        issued
    }
}

/// Calls without a pause for `time`, and returns a summary.
///
/// # Errors
///
/// Returns an error if a call fails, none of the tokens is renewed, or a call takes as long as a token does.
pub async fn watch<S>(
    client: &InventoryServiceClient<Attach<Channel>>,
    source: &Slow<S>,
    time: Duration,
) -> Result<String> {
    let (start, before) = (Instant::now(), source.fetched.load(Ordering::Relaxed));
    let callers: Vec<_> = (0..CONCURRENCY).map(|_| tokio::spawn(calls(client.clone(), start + time))).collect();
    let mut took = Vec::new();
    for caller in callers {
        took.append(&mut caller.await??);
    }
    took.sort_unstable();
    let renewed = source.fetched.load(Ordering::Relaxed) - before;
    let median = took.get(took.len() / 2).context("no call was made")?;
    let slowest = took.last().context("no call was made")?;
    ensure!(renewed > 0, "no token was renewed within {time:?}: is the issuer's shortest lifetime longer?");
    ensure!(*slowest < DELAY, "a call took {slowest:?}: it waited for a token");
    Ok(format!(
        "{} calls in {} s, none failed; tokens fetched meanwhile: {renewed}, each in no less than {} ms\n      \
         median {} ms, slowest call {} ms",
        took.len(),
        time.as_secs(),
        DELAY.as_millis(),
        millis(*median),
        millis(*slowest),
    ))
}

async fn calls(mut client: InventoryServiceClient<Attach<Channel>>, until: Instant) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    while Instant::now() < until {
        let start = Instant::now();
        client
            .get_item(GetItemRequest { sku: "st-2".into() })
            .await
            .context("a call failed while tokens were renewed")?;
        took.push(start.elapsed());
    }
    Ok(took)
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}
