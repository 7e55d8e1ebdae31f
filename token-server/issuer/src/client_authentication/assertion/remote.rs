//! Keys that a client publishes at its `jwks_uri`. RFC 7591 section 2.
//!
//! The server does not choose the URL, so the fetch is restricted. It uses HTTPS, follows no redirects, and
//! has limits for time and size. It connects only to addresses of the public Internet unless the operator
//! allows others.
//!
//! A cached key is used immediately. A set that is due is fetched again in the background. Only an assertion
//! whose key is not cached waits, and all such assertions share one fetch. The next fetch may start
//! [`COOLDOWN`] later. An invented `kid` therefore costs little, and it delays a new key for seconds at most.
//!
//! A fetched set without a usable key is a failed fetch. A failed fetch leaves the cached set as it is.
//!
//! A set that could not be fetched again expires after an hour, or after the time that the operator sets. A
//! revoked key must not stay valid for ever.

mod held;

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use quick_cache::sync::Cache;
use token_interceptor::error_chain;
use token_interceptor::{
    danger::AllowPlaintext, http_client::HttpClient, http_url::HttpUrl, signature::VerifyingKey, verify::jws::Jws,
};
use tokio::{task::JoinHandle, time::Instant};
use tracing::Instrument as _;

use self::held::{Candidates, Held, Look, Wanted};
use crate::trace;

/// Cached key sets.
const SETS_MAX: usize = 1_000;
/// The time limit of a whole fetch.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The largest key set, in bytes: dozens of RSA keys.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The addresses that a client's URL may lead to.
///
/// Exhaustive: the HTTP client must enforce a new reach before it compiles.
#[derive(Clone, Copy, Debug)]
pub enum Reach {
    /// The public Internet, over HTTPS.
    Public,
    /// Private networks too, over HTTPS. Plaintext to loopback only.
    Private,
    /// Any address, plaintext included: for tests, and for networks that only clients and issuer share.
    Anywhere(AllowPlaintext),
}

/// The key sets of clients, as last fetched.
pub(super) struct RemoteKeys {
    reach: Reach,
    roots_pem: Vec<u8>,
    served_max: Duration,
    /// Created on first use, because reading the machine's trusted roots takes a while.
    http: OnceLock<Option<HttpClient>>,
    sets: Cache<String, Arc<Set>>,
}

/// The state of one URL.
struct Set {
    held: Mutex<Held>,
    /// Held by the caller that fetches. A caller that finds its key in the cache does not take it.
    fetching: tokio::sync::Mutex<()>,
}

impl RemoteKeys {
    /// `roots_pem` are trusted in addition to the machine's own roots. A set expires `served_max` after its
    /// fetch.
    pub(super) fn new(reach: Reach, roots_pem: Vec<u8>, served_max: Duration) -> Self {
        Self { reach, roots_pem, served_max, http: OnceLock::new(), sets: Cache::new(SETS_MAX) }
    }

    fn http(&self) -> Option<HttpClient> {
        let make = || {
            let builder = HttpClient::builder().timeout(TIMEOUT).body_bytes_max(BODY_BYTES_MAX);
            let builder = builder.extra_roots_pem(self.roots_pem.clone());
            let builder = match self.reach {
                Reach::Public => builder.public_addresses_only(),
                Reach::Private => builder,
                Reach::Anywhere(allow) => builder.plaintext(allow),
            };
            builder.build().ok()
        };
        self.http.get_or_init(make).clone()
    }

    /// Returns the keys at `uri` that can have signed `jws`, at least one.
    pub(super) async fn find(&self, uri: &str, jws: &Jws<'_>) -> Option<Candidates> {
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::new(Set::new(self.served_max)));
        let Ok(set) = self.sets.get_or_insert_with(uri, fresh);
        let wanted = Wanted::of(jws);
        match set.look(&wanted) {
            Look::Found(keys) => Some(keys),
            Look::Due(keys) => {
                self.spawn_fetch(&set, uri, &wanted)?;
                Some(keys)
            }
            Look::Fetch => {
                self.spawn_fetch(&set, uri, &wanted)?.await.ok()?;
                set.look(&wanted).keys()
            }
            Look::Absent => None,
        }
    }

    /// Fetches in a task of its own. A caller that disconnects must not cancel the fetch, which would leave
    /// only the cooldown.
    fn spawn_fetch(&self, set: &Arc<Set>, uri: &str, wanted: &Wanted) -> Option<JoinHandle<()>> {
        let (set, http, uri, wanted) = (Arc::clone(set), self.http()?, uri.to_owned(), wanted.clone());
        let fetch = async move {
            let _fetching = set.fetching.lock().await;
            // Another caller may have fetched in the meantime.
            if matches!(set.look(&wanted), Look::Due(_) | Look::Fetch) {
                set.fetch(&http, &uri).await;
            }
        };
        Some(tokio::spawn(fetch.in_current_span()))
    }
}

impl Set {
    fn new(served_max: Duration) -> Self {
        Self { held: Mutex::new(Held::new(served_max)), fetching: tokio::sync::Mutex::default() }
    }

    fn look(&self, wanted: &Wanted) -> Look {
        self.held().look(wanted, Instant::now())
    }

    async fn fetch(&self, http: &HttpClient, uri: &str) {
        self.held().begin(Instant::now());
        match fetch(http, uri).await {
            Ok(keys) => self.held().replace(keys, Instant::now()),
            Err(error) => tracing::warn!(uri, error, "a client's keys cannot be fetched"),
        }
        self.held().end();
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn fetch(http: &HttpClient, uri: &str) -> Result<Vec<Arc<VerifyingKey>>, String> {
    let url = HttpUrl::parse(uri).map_err(|error| error.to_string())?;
    let span =
        tracing::info_span!(target: trace::TARGET, "fetch keys", otel.kind = "client", server.address = url.host());
    let fetching = http.get_key_set(&url, trace::callee(&span)).instrument(span);
    let answer = fetching.await.map_err(|error| error_chain::of(&error))?;
    if answer.status != http::StatusCode::OK {
        return Err(format!("status {}", answer.status));
    }
    held::parse(&answer.body)
}

impl fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKeys").field("sets", &self.sets.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_sets_stay_within_their_capacity() {
        let keys = RemoteKeys::new(Reach::Public, Vec::new(), TIMEOUT);
        for n in 0..3 * SETS_MAX {
            // Skips the fetch, which would only slow the test down.
            keys.sets.insert(format!("https://client-{n}.example/keys"), Arc::new(Set::new(TIMEOUT)));
        }
        assert!(keys.sets.len() <= SETS_MAX);
    }
}
