//! The bridge from API keys to tokens: registered legacy keys, each of a client, until its sunset date.
//!
//! | metric | labels |
//! |---|---|
//! | `token_api_keys_used_total` | `client`: the client ID of a registered key |
//!
//! Each use of a registered key counts, a refused one too. The log has one line an hour for each key in use.

mod error;
mod file;
mod hash;
mod key;
mod table;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::{
    HeaderName,
    header::{HeaderValue, InvalidHeaderValue},
};

pub use error::ApiKeyError;
use file::Watched;
pub use hash::KeyHash;
pub use key::ApiKey;
use table::{Entry, Table};

use crate::{
    clock::numeric_date,
    error::Denied,
    scheme::{Asked, Authenticate, CredentialPlace, Identity},
    token::UnverifiedToken,
};

/// The default header of a key. Many gateways use it.
const HEADER: HeaderName = HeaderName::from_static("x-api-key");
/// RFC 8594 section 3.
const SUNSET: HeaderName = HeaderName::from_static("sunset");
/// RFC 9745 section 2.
const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");

/// The registered API keys: a scheme beside `Bearer`, for the time until every client has a token.
///
/// A key is known by its SHA-256 hash alone, and belongs to a client with audiences and scopes. Each answer
/// warns the client by the header fields `deprecation` (RFC 9745) and `sunset` (RFC 8594), in gRPC as
/// metadata. From the sunset date on, the key is refused with the reason `TOKEN_EXPIRED`.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use token_interceptor::{api_keys::{ApiKey, ApiKeys, KeyHash}, layer::AuthorizationLayer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let layer = AuthorizationLayer::requiring(
/// #     token_interceptor::test_util::TestIssuer::new("https://issuer.example").verifier(),
/// #     "inventory", token_proto::policy::Requirement::any_token());
/// // From the configuration. In production: `ApiKeys::from_file("/etc/inventory/api-keys.json")?`.
/// let hash = KeyHash::from_hex("2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae")?;
/// let deprecated = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
/// let sunset = deprecated + Duration::from_secs(180 * 24 * 3600);
/// let key = ApiKey::new(hash, "billing", sunset).audiences(["inventory"]).scopes(["inventory.read"]);
/// let layer = layer.scheme(ApiKeys::new(deprecated, [key])?)?;
/// # let _ = layer;
/// # Ok(()) }
/// ```
///
/// The hash protects only a key that cannot be guessed, of 128 random bits at least. Keep the file secret
/// otherwise, and replace such keys first.
#[derive(Clone, Debug)]
pub struct ApiKeys {
    place: CredentialPlace,
    registered: Arc<Registered>,
}

/// The keys as they are registered now.
#[derive(Debug)]
struct Registered {
    table: ArcSwap<Table>,
    file: Option<Watched>,
}

impl ApiKeys {
    /// Accepts these keys. They are deprecated since, or from, this time: the value of the header field.
    ///
    /// # Errors
    ///
    /// Returns an error if a key is registered twice, has no audience, or its sunset date is before the
    /// deprecation.
    pub fn new(deprecated: SystemTime, keys: impl IntoIterator<Item = ApiKey>) -> Result<Self, ApiKeyError> {
        Ok(Self::with(Table::new(deprecated, keys.into_iter().collect())?, None))
    }

    /// Accepts the keys in a file, and reads it again when a key is used, every five seconds at the most. So
    /// a change takes effect within five seconds, also for open streams. While the file cannot be read, the
    /// last keys stay, and the log has an error.
    ///
    /// The file is JSON. A date without a time is its first moment in UTC:
    ///
    /// ```json
    /// {
    ///   "deprecated": "2026-01-01",
    ///   "keys": [{
    ///     "sha256": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    ///     "client_id": "billing",
    ///     "audiences": ["inventory"],
    ///     "scopes": ["inventory.read"],
    ///     "sunset": "2026-07-01T00:00:00Z"
    ///   }]
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read, or as in [`ApiKeys::new`].
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, ApiKeyError> {
        let (table, file) = Watched::open(path.into())?;
        Ok(Self::with(table, Some(file)))
    }

    fn with(table: Table, file: Option<Watched>) -> Self {
        let registered = Registered { table: ArcSwap::from_pointee(table), file };
        Self { place: CredentialPlace::Header(HEADER), registered: Arc::new(registered) }
    }

    /// Reads the key from this place. Default: the header `x-api-key`.
    #[must_use]
    pub fn at(mut self, place: CredentialPlace) -> Self {
        self.place = place;
        self
    }
}

#[async_trait]
impl Authenticate for ApiKeys {
    fn name(&self) -> &'static str {
        "api_key"
    }

    fn place(&self) -> CredentialPlace {
        self.place.clone()
    }

    async fn authenticate(&self, key: UnverifiedToken<'_>, asked: &Asked<'_>) -> Result<Identity, Denied> {
        self.registered.refresh(asked.now).await;
        let hash = KeyHash::of(key.expose());
        let found = self.registered.table.load().find(&hash).cloned();
        let entry = found.ok_or(Denied::credential("api_key", "the API key is not registered"))?;
        entry.note_use(asked.now);
        entry.check_sunset(asked.now)?;
        let registered = Arc::clone(&self.registered);
        let identity = entry.identity();
        Ok(identity.while_ok(move |now| registered.check_again(&hash, &entry, now)))
    }
}

impl Registered {
    /// Reads the file again, if that is due.
    async fn refresh(&self, now: SystemTime) {
        if let Some(file) = &self.file
            && let Some(table) = file.read_again(now).await
        {
            self.table.store(Arc::new(table));
        }
    }

    /// Checks the key of a call in progress: it is registered with the same rights, and before its sunset.
    fn check_again(self: &Arc<Self>, hash: &KeyHash, entry: &Entry, now: SystemTime) -> Result<(), Denied> {
        // The answer counts at the next look, within a second.
        if self.file.as_ref().is_some_and(|file| file.is_due(now))
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let registered = Arc::clone(self);
            runtime.spawn(async move { registered.refresh(now).await });
        }
        let current = self.table.load();
        let current = current.find(hash);
        let current = current.ok_or(Denied::credential("api_key", "the API key is no longer registered"))?;
        if !current.has_rights_of(entry) {
            return Err(Denied::credential("api_key", "the rights of the API key have changed; call again"));
        }
        current.check_sunset(now)
    }
}

/// RFC 9745 section 2.1: a date of structured fields (RFC 9651 section 3.3.7).
fn deprecation(deprecated: SystemTime) -> Result<HeaderValue, InvalidHeaderValue> {
    format!("@{}", numeric_date(deprecated)).parse()
}

/// The interval of log lines about one key in use.
const NOTED_EVERY: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
