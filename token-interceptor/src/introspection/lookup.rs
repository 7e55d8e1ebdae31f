//! The question to the introspection endpoint: one request in flight for a token, and a bound for all.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared, WeakShared},
};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{Client, INACTIVE, Introspection, RETRY_AFTER, answer, answer::Answer, cache::Answers, cache::TokenHash};
use crate::{
    error::Denied,
    http_client::{HttpClient, HttpResponse},
    http_url::HttpUrl,
    source::{ClientCredential, SecretIn},
    verify::{BuildError, Verifier},
};

/// The default time for which an answer is used.
const KEEP: Duration = Duration::from_secs(60);
/// The time for which an inactive token is remembered. A token may become active soon after its first use.
const KEEP_INACTIVE: Duration = Duration::from_secs(5);
/// The longest wait for the endpoint. A call gives up later, so that it reports this fault.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// Requests in flight, at the most.
const IN_FLIGHT_MAX: usize = 64;
/// The default bounds of the cache.
const ENTRIES_MAX: usize = 20_000;
const BYTES_MAX: u64 = 64 * 1024 * 1024;

type Asking = BoxFuture<'static, Result<Answer, Denied>>;

/// The endpoint of an issuer, and its answers.
pub(super) struct Lookup {
    pub(super) verifier: Verifier,
    pub(super) issuer: Arc<str>,
    endpoint: HttpUrl,
    client: Client,
    secret_in: SecretIn,
    http: HttpClient,
    keep: Duration,
    answers: Answers,
    in_flight: Mutex<InFlight>,
    permits: Arc<Semaphore>,
}

/// The requests in flight, each with its number.
#[derive(Default)]
struct InFlight {
    by_token: HashMap<TokenHash, (u64, WeakShared<Asking>)>,
    last: u64,
}

/// Settings for an [`Introspection`].
#[derive(Debug)]
#[must_use]
pub struct IntrospectionBuilder {
    verifier: Verifier,
    issuer: String,
    endpoint: String,
    client: Option<Client>,
    secret_in: SecretIn,
    http: Option<HttpClient>,
    keep: Duration,
    entries_max: usize,
    bytes_max: u64,
}

impl IntrospectionBuilder {
    pub(super) fn new(verifier: Verifier, issuer: &str, endpoint: &str) -> Self {
        Self {
            verifier,
            issuer: issuer.to_owned(),
            endpoint: endpoint.to_owned(),
            client: None,
            secret_in: SecretIn::Header,
            http: None,
            keep: KEEP,
            entries_max: ENTRIES_MAX,
            bytes_max: BYTES_MAX,
        }
    }

    /// Authenticates this service at the endpoint: a client ID, and a secret or a
    /// [`PrivateKeyJwt`](crate::source::PrivateKeyJwt). RFC 7662 section 2.1 demands it.
    pub fn client(mut self, client_id: impl Into<String>, credential: impl Into<ClientCredential>) -> Self {
        self.client = Some(Client { id: client_id.into(), credential: credential.into() });
        self
    }

    /// Sends a secret in the form or in the header. Default: the header.
    pub fn secret_in(mut self, place: SecretIn) -> Self {
        self.secret_in = place;
        self
    }

    /// Asks over this client, which may have its own roots or limits.
    pub fn http_client(mut self, http: HttpClient) -> Self {
        self.http = Some(http);
        self
    }

    /// Sets the longest time for which an answer is used, up to `exp`. Default: a minute. A longer time costs
    /// fewer requests, and lets a revoked token live longer. Zero asks at each call.
    pub fn keep(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    /// Bounds the cached answers. Default: 20,000 and 64 MiB.
    pub fn cache_max(mut self, entries: usize, bytes: u64) -> Self {
        (self.entries_max, self.bytes_max) = (entries, bytes);
        self
    }

    /// Builds the scheme without asking the endpoint.
    ///
    /// # Errors
    ///
    /// Returns an error if the verifier does not trust the issuer, there is no client, or the HTTP client may
    /// not send to the endpoint.
    pub fn build(self) -> Result<Introspection, BuildError> {
        let fault = |fault: String| BuildError::new(&self.issuer, fault);
        if !self.verifier.trusts(&self.issuer) {
            return Err(fault("the verifier does not trust this issuer".to_owned()));
        }
        let client = self.client.ok_or_else(|| fault("the endpoint needs the credential of a client".to_owned()))?;
        let endpoint = HttpUrl::parse(&self.endpoint).map_err(|error| fault(format!("the endpoint: {error}")))?;
        let http = self.http.map_or_else(|| HttpClient::builder().timeout(WAIT_MAX).build(), Ok);
        let http = http.map_err(|error| fault(error.to_string()))?;
        http.check(&endpoint).map_err(|error| fault(format!("the endpoint: {error}")))?;
        Ok(Introspection(Arc::new(Lookup {
            verifier: self.verifier,
            issuer: self.issuer.into(),
            endpoint,
            client,
            secret_in: self.secret_in,
            http,
            keep: self.keep,
            answers: Answers::new(self.entries_max, self.bytes_max),
            in_flight: Mutex::default(),
            permits: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        })))
    }
}

impl Lookup {
    /// Returns the answer about a token that is not too old.
    pub(super) fn cached(&self, hash: &TokenHash, now: SystemTime) -> Option<Answer> {
        self.answers.get(hash, now)
    }

    /// Asks the endpoint, or waits for the request about the same token that is in flight.
    pub(super) async fn ask(
        self: &Arc<Self>,
        token: Arc<str>,
        hash: TokenHash,
        now: SystemTime,
    ) -> Result<Answer, Denied> {
        self.asking(token, hash, now)?.await
    }

    fn asking(self: &Arc<Self>, token: Arc<str>, hash: TokenHash, now: SystemTime) -> Result<Shared<Asking>, Denied> {
        let mut in_flight = self.in_flight();
        if let Some(asking) = in_flight.by_token.get(&hash).and_then(|(_, asking)| asking.upgrade()) {
            return Ok(asking);
        }
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            self.count("shed");
            let fault = format!("{IN_FLIGHT_MAX} requests to {} are in flight", self.endpoint_name());
            return Err(Denied::unavailable("introspection_busy", RETRY_AFTER, fault));
        };
        in_flight.last += 1;
        let number = in_flight.last;
        // Both end with the request, also when its last waiter goes away.
        let ended = (permit, Ended { lookup: Arc::downgrade(self), hash, number });
        let lookup = Arc::clone(self);
        let asking = async move {
            let _ended = ended;
            let answer = lookup.exchange(&token).await;
            lookup.count(match &answer {
                Ok(Answer::Active(_)) => "active",
                Ok(Answer::Inactive) => "inactive",
                Err(_) => "failed",
            });
            if let Ok(answer) = &answer {
                let keep = match answer {
                    Answer::Active(_) => lookup.keep,
                    Answer::Inactive => lookup.keep.min(KEEP_INACTIVE),
                };
                lookup.answers.put(hash, answer.clone(), now, keep);
            }
            answer
        };
        let asking = asking.boxed().shared();
        if let Some(weak) = asking.downgrade() {
            in_flight.by_token.insert(hash, (number, weak));
        }
        Ok(asking)
    }

    /// RFC 7662 section 2.1.
    async fn exchange(&self, token: &str) -> Result<Answer, Denied> {
        let failed = |fault: String| {
            let fault = format!("the introspection endpoint {} failed: {fault}", self.endpoint_name());
            Denied::unavailable("introspection_failed", RETRY_AFTER, fault)
        };
        let proof = self.client.credential.for_http(&self.client.id, self.secret_in);
        let proof = proof.map_err(|error| failed(error.to_string()))?;
        let mut form = vec![
            ("token", Zeroizing::new(token.to_owned())),
            ("token_type_hint", Zeroizing::new("access_token".to_owned())),
        ];
        form.extend(proof.fields);
        let fields: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let asked = self.http.post_form(&self.endpoint, &fields, proof.authorization);
        let answer: HttpResponse = match tokio::time::timeout(WAIT_MAX, asked).await {
            Ok(answer) => answer.map_err(|error| failed(error.to_string()))?,
            Err(_) => return Err(failed(format!("it did not answer in {} s", WAIT_MAX.as_secs()))),
        };
        answer::read(&answer).map_err(failed)
    }

    /// Checks the token of a call in progress by the cached answer. One that is too old is asked for again
    /// meanwhile. An unreachable endpoint ends no call.
    pub(super) fn check_again(
        self: &Arc<Self>,
        token: &Arc<str>,
        hash: &TokenHash,
        audience: &str,
        now: SystemTime,
    ) -> Result<(), Denied> {
        match self.cached(hash, now) {
            Some(Answer::Active(members)) => {
                let checked = self.verifier.check_introspected(&self.issuer, (*members).clone(), audience, now);
                checked.map(|_| ()).map_err(Into::into)
            }
            Some(Answer::Inactive) => Err(INACTIVE),
            None => {
                if let Ok(runtime) = tokio::runtime::Handle::try_current()
                    && let Ok(asking) = self.asking(Arc::clone(token), *hash, now)
                {
                    runtime.spawn(asking);
                }
                Ok(())
            }
        }
    }

    /// Returns the place of the endpoint, for the log. Its query may hold a secret.
    fn endpoint_name(&self) -> String {
        format!("{}{}", self.endpoint.host(), self.endpoint.path())
    }

    fn count(&self, outcome: &'static str) {
        let issuer = Arc::clone(&self.issuer);
        metrics::counter!("token_introspections_total", "issuer" => issuer, "outcome" => outcome).increment(1);
    }

    #[cfg(test)]
    pub(super) fn in_flight_now(&self) -> usize {
        self.in_flight().by_token.len()
    }

    /// An entry is inserted or removed as a whole, so a panic leaves nothing half changed.
    fn in_flight(&self) -> MutexGuard<'_, InFlight> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a request that has ended, or whose last waiter went away.
struct Ended {
    lookup: Weak<Lookup>,
    hash: TokenHash,
    number: u64,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let Some(lookup) = self.lookup.upgrade() else { return };
        let mut in_flight = lookup.in_flight();
        // A later request about the same token may have taken the place.
        if in_flight.by_token.get(&self.hash).is_some_and(|(number, _)| *number == self.number) {
            in_flight.by_token.remove(&self.hash);
        }
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup")
            .field("issuer", &self.issuer)
            .field("endpoint", &self.endpoint_name())
            .finish_non_exhaustive()
    }
}
