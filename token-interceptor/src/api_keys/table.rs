//! The keys by hash.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::HeaderValue;
use metrics::{Counter, SharedString};

use super::{ApiKey, ApiKeyError, DEPRECATION, KeyHash, NOTED_EVERY, SUNSET, deprecation};
use crate::{
    clock::{NUMERIC_DATE_MAX, numeric_date},
    error::Denied,
    scheme::Identity,
};

/// Keys in a table, at the most. Each may be a label of the metrics.
const KEYS_MAX: usize = 10_000;

/// The registered keys at one moment.
#[derive(Debug)]
pub(super) struct Table(HashMap<KeyHash, Arc<Entry>>);

/// A registered key, with the values that each use needs.
#[derive(Debug)]
pub(super) struct Entry {
    key: ApiKey,
    deprecation: HeaderValue,
    sunset: HeaderValue,
    used: OnceLock<Counter>,
    /// The time of the last log line, in seconds since 1970; 0 before the first.
    noted_at: AtomicU64,
}

impl Table {
    pub(super) fn new(deprecated: SystemTime, keys: Vec<ApiKey>) -> Result<Self, ApiKeyError> {
        if keys.len() > KEYS_MAX {
            return Err(ApiKeyError::new(format!("there are more than {KEYS_MAX} API keys")));
        }
        let mut table = HashMap::with_capacity(keys.len());
        for (number, key) in keys.into_iter().enumerate() {
            let fault = |fault: &str| ApiKeyError::new(format!("API key {number}: {fault}"));
            if let Some(bad) = key.fault(deprecated) {
                return Err(fault(bad));
            }
            let (hash, entry) = (key.hash, Entry::new(deprecated, key).ok_or_else(|| fault("a time is out of range"))?);
            if table.insert(hash, Arc::new(entry)).is_some() {
                return Err(fault("it is registered twice"));
            }
        }
        Ok(Self(table))
    }

    pub(super) fn find(&self, hash: &KeyHash) -> Option<&Arc<Entry>> {
        self.0.get(hash)
    }
}

impl Entry {
    /// Returns `None` if a time is before 1970 or after the year 9999.
    fn new(deprecated: SystemTime, key: ApiKey) -> Option<Self> {
        let last = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(NUMERIC_DATE_MAX))?;
        let in_range = |time: SystemTime| time >= SystemTime::UNIX_EPOCH && time <= last;
        if !in_range(deprecated) || !in_range(key.sunset) {
            return None;
        }
        let sunset = httpdate::fmt_http_date(key.sunset).parse().ok()?;
        let deprecation = deprecation(deprecated).ok()?;
        Some(Self { key, deprecation, sunset, used: OnceLock::new(), noted_at: AtomicU64::new(0) })
    }

    /// Returns true if both are one key with the same rights. Their sunset dates may differ.
    pub(super) fn has_rights_of(&self, other: &Self) -> bool {
        let ApiKey { client_id, audiences, scopes, .. } = &self.key;
        client_id == &other.key.client_id && audiences == &other.key.audiences && scopes == &other.key.scopes
    }

    /// Returns an error from the sunset date on. The leeway is for the clocks of issuers, and does not count.
    pub(super) fn check_sunset(&self, now: SystemTime) -> Result<(), Denied> {
        if now < self.key.sunset {
            return Ok(());
        }
        Err(Denied::credential_expired("api_key_sunset", "the sunset date of the API key has passed; use a token"))
    }

    /// Counts a use, and logs the first in an hour.
    pub(super) fn note_use(&self, now: SystemTime) {
        let client = || SharedString::from(Arc::<str>::from(self.key.client_id.as_str()));
        let counter = || metrics::counter!("token_api_keys_used_total", "client" => client());
        self.used.get_or_init(counter).increment(1);
        let (now, noted_at) = (numeric_date(now), self.noted_at.load(Ordering::Relaxed));
        // The clock may have been set back.
        let due = now.checked_sub(noted_at).is_none_or(|since| since >= NOTED_EVERY.as_secs());
        if due && self.noted_at.compare_exchange(noted_at, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let (client_id, sunset) = (&self.key.client_id, self.sunset.to_str().unwrap_or_default());
            tracing::warn!(client_id, sunset, "an API key is used; from its sunset date on it is refused");
        }
    }

    pub(super) fn identity(&self) -> Identity {
        let ApiKey { client_id, audiences, scopes, sunset, .. } = &self.key;
        Identity::new(client_id, audiences)
            .scopes(scopes)
            .expires_at(*sunset)
            .notice(DEPRECATION, self.deprecation.clone())
            .notice(SUNSET, self.sunset.clone())
    }
}
