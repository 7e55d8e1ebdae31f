//! Keys that a client publishes at its `jwks_uri`. RFC 7591 section 2.
//!
//! The URL is somebody else's choice: HTTPS, addresses of the public Internet alone unless the operator says
//! otherwise, no redirects, bounded in time and size. One fetch at a time for each URL, and not one for each
//! invented `kid`.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use quick_cache::sync::Cache;
use serde::Deserialize;
use serde_json::value::RawValue;
use token_interceptor::{
    danger::AllowPlaintext, http_client::HttpClient, json, signature::VerifyingKey, verify::jws::Jws,
};
use tokio::{sync::Mutex, time::Instant};
use tracing::Instrument as _;
use url::Url;

use crate::{error_chain, trace};

/// Key sets that are kept.
const SETS_MAX: usize = 1_000;
/// A key set is fetched again when it is this old.
const MAX_AGE: Duration = Duration::from_secs(300);
/// Between two fetches of one URL, whatever they came to.
const COOLDOWN: Duration = Duration::from_secs(30);
/// A whole fetch.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Dozens of RSA keys.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Keys of one set that are looked at.
const KEYS_MAX: usize = 100;

/// Where a client's URL may lead.
#[derive(Clone, Copy, Debug)]
pub enum Reach {
    /// The public Internet, over HTTPS.
    Public,
    /// Anywhere, in plaintext too: for tests, and for networks where clients and issuer are among themselves.
    Anywhere(AllowPlaintext),
}

/// The key sets of clients, as they were last fetched.
pub(super) struct RemoteKeys {
    reach: Reach,
    /// Made when it is first needed: reading the machine's trusted roots takes a while.
    http: OnceLock<Option<HttpClient>>,
    sets: Cache<String, Arc<Mutex<Held>>>,
}

#[derive(Default)]
struct Held {
    keys: Vec<Arc<VerifyingKey>>,
    fetched: Option<Instant>,
    tried: Option<Instant>,
}

impl RemoteKeys {
    pub(super) fn new(reach: Reach) -> Self {
        Self { reach, http: OnceLock::new(), sets: Cache::new(SETS_MAX) }
    }

    fn http(&self) -> Option<&HttpClient> {
        let make = || {
            let builder = HttpClient::builder().timeout(TIMEOUT).body_bytes_max(BODY_BYTES_MAX);
            let builder = match self.reach {
                Reach::Public => builder.public_addresses_only(),
                Reach::Anywhere(allow) => builder.plaintext(allow),
            };
            builder.build().ok()
        };
        self.http.get_or_init(make).as_ref()
    }

    /// The one key at `uri` that `jws` can be signed with, as among registered keys.
    pub(super) async fn find(&self, uri: &str, jws: &Jws<'_>) -> Option<Arc<VerifyingKey>> {
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::default());
        let Ok(held) = self.sets.get_or_insert_with(uri, fresh);
        let mut held = held.lock().await;
        let now = Instant::now();
        let found = held.find(jws);
        let old = held.fetched.is_none_or(|fetched| now.duration_since(fetched) >= MAX_AGE);
        let rested = held.tried.is_none_or(|tried| now.duration_since(tried) >= COOLDOWN);
        if (found.is_none() || old) && rested {
            held.tried = Some(now);
            match self.fetch(uri).await {
                Ok(keys) => (held.keys, held.fetched) = (keys, Some(now)),
                Err(error) => tracing::warn!(uri, error, "a client's keys cannot be fetched"),
            }
            return held.find(jws);
        }
        found
    }

    async fn fetch(&self, uri: &str) -> Result<Vec<Arc<VerifyingKey>>, String> {
        let http = self.http().ok_or("there is no HTTP client")?;
        let url = Url::parse(uri).map_err(|error| error.to_string())?;
        let span = tracing::info_span!(target: trace::TARGET, "fetch keys", otel.kind = "client", server.address = url.host_str());
        let fetching = http.get_with(&url, trace::callee(&span)).instrument(span);
        let answer = fetching.await.map_err(|error| error_chain::of(&error))?;
        if answer.status != http::StatusCode::OK {
            return Err(format!("status {}", answer.status));
        }
        parse(&answer.body)
    }
}

impl Held {
    fn find(&self, jws: &Jws<'_>) -> Option<Arc<VerifyingKey>> {
        let mut fitting = self.keys.iter().filter(|key| super::fits(key, jws));
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => Some(Arc::clone(only)),
            (Some(_), Some(_)) | (None, _) => None,
        }
    }
}

/// A key that cannot be used spoils only itself. RFC 7517 section 5.
fn parse(document: &[u8]) -> Result<Vec<Arc<VerifyingKey>>, String> {
    #[derive(Deserialize)]
    struct Document<'a> {
        #[serde(borrow)]
        keys: Vec<&'a RawValue>,
    }
    let document: Document<'_> = serde_json::from_slice(document).map_err(|error| error.to_string())?;
    let keys = document.keys.into_iter().take(KEYS_MAX).filter_map(|key| {
        let members = json::object(key.get().as_bytes()).ok()?;
        VerifyingKey::from_jwk(&members).ok().map(Arc::new)
    });
    Ok(keys.collect())
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
    fn a_key_that_cannot_be_used_spoils_only_itself() {
        let good = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let set = format!(r#"{{"keys":[{{"kty":"oct","k":"AA"}},{good},5]}}"#);
        assert_eq!(parse(set.as_bytes()).unwrap().len(), 1);
        assert!(parse(b"[]").is_err());
    }
}
