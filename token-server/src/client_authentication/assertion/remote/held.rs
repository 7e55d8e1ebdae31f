//! One cached key set, and the times at which to fetch it. Pure functions of the past and `now`.

use std::{sync::Arc, time::Duration};

use token_interceptor::{
    json,
    key_set::jwks,
    signature::{Algorithm, VerifyingKey},
    verify::jws::Jws,
};
use tokio::time::Instant;

/// The age at which a key set is fetched again.
const MAX_AGE: Duration = Duration::from_secs(300);
/// The time between the starts of two fetches of one URL, successful or not.
const COOLDOWN: Duration = Duration::from_secs(10);
/// Keys of one set that are read.
const KEYS_MAX: usize = 100;

/// The cached state of one URL.
pub(super) struct Held {
    /// The age at which a set expires.
    served_max: Duration,
    keys: Vec<Arc<VerifyingKey>>,
    fetched: Option<Instant>,
    tried: Option<Instant>,
    under_way: bool,
}

/// The key that an assertion names.
#[derive(Clone)]
pub(super) struct Wanted {
    key_id: Option<String>,
    algorithm: Algorithm,
}

/// The result of a search in the cached set.
pub(super) enum Look {
    Found(Arc<VerifyingKey>),
    /// Found, and the set is due to be fetched again.
    Due(Arc<VerifyingKey>),
    /// Not found, but a fetch in flight or a new one may bring the key.
    Fetch,
    /// Not found in a set that was fetched moments ago.
    Absent,
}

impl Wanted {
    pub(super) fn of(jws: &Jws<'_>) -> Self {
        Self { key_id: jws.key_id.as_deref().map(str::to_owned), algorithm: jws.algorithm }
    }
}

impl Look {
    pub(super) fn key(self) -> Option<Arc<VerifyingKey>> {
        match self {
            Self::Found(key) | Self::Due(key) => Some(key),
            Self::Fetch | Self::Absent => None,
        }
    }
}

impl Held {
    pub(super) fn new(served_max: Duration) -> Self {
        Self { served_max, keys: Vec::new(), fetched: None, tried: None, under_way: false }
    }

    pub(super) fn look(&self, wanted: &Wanted, now: Instant) -> Look {
        let within = |since: Option<Instant>, duration| since.is_some_and(|since| now.duration_since(since) < duration);
        let rested = !within(self.tried, COOLDOWN);
        let found = self.find(wanted).filter(|_| within(self.fetched, self.served_max));
        match found {
            Some(key) if rested && !within(self.fetched, MAX_AGE) => Look::Due(key),
            Some(key) => Look::Found(key),
            None if rested || self.under_way => Look::Fetch,
            None => Look::Absent,
        }
    }

    pub(super) fn begin(&mut self, now: Instant) {
        (self.tried, self.under_way) = (Some(now), true);
    }

    /// Ends the fetch, successful or not.
    pub(super) fn end(&mut self) {
        self.under_way = false;
    }

    pub(super) fn replace(&mut self, keys: Vec<Arc<VerifyingKey>>, now: Instant) {
        (self.keys, self.fetched) = (keys, Some(now));
    }

    /// If several keys match, the result is `None`: an assertion must not choose among keys.
    fn find(&self, wanted: &Wanted) -> Option<Arc<VerifyingKey>> {
        let fits = |key: &&Arc<VerifyingKey>| super::super::fits(key, wanted.key_id.as_deref(), wanted.algorithm);
        let mut fitting = self.keys.iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => Some(Arc::clone(only)),
            (Some(_), Some(_)) | (None, _) => None,
        }
    }
}

/// Parses the set and skips keys that cannot be used. RFC 7517 section 5.
pub(super) fn parse(document: &[u8]) -> Result<Vec<Arc<VerifyingKey>>, String> {
    let keys = jwks(document).map_err(|error| error.to_string())?.take(KEYS_MAX).filter_map(|key| {
        let members = json::object(key.as_bytes()).ok()?;
        VerifyingKey::from_jwk(&members).ok().map(Arc::new)
    });
    Ok(keys.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"}"#;
    const SECOND: Duration = Duration::from_secs(1);

    fn keys() -> Vec<Arc<VerifyingKey>> {
        parse(format!(r#"{{"keys":[{ED25519}]}}"#).as_bytes()).unwrap()
    }

    #[test]
    fn of_a_set_without_end_the_first_keys_are_read() {
        let many = vec![ED25519; 3 * KEYS_MAX].join(",");
        assert_eq!(parse(format!(r#"{{"keys":[{many}]}}"#).as_bytes()).unwrap().len(), KEYS_MAX);
    }

    fn wanted(key_id: &str) -> Wanted {
        Wanted { key_id: Some(key_id.to_owned()), algorithm: Algorithm::EdDsa }
    }

    fn fetched(at: Instant) -> Held {
        let mut held = Held::new(3600 * SECOND);
        held.begin(at);
        held.replace(keys(), at);
        held.end();
        held
    }

    #[test]
    fn a_key_that_cannot_be_used_spoils_only_itself() {
        let set = format!(r#"{{"keys":[{{"kty":"oct","k":"AA"}},{ED25519},5]}}"#);
        assert_eq!(parse(set.as_bytes()).unwrap().len(), 1);
        assert!(parse(b"[]").is_err());
        assert!(parse(b"[[]]").is_err());
    }

    #[test]
    fn nothing_is_held_before_the_first_fetch() {
        assert!(matches!(Held::new(3600 * SECOND).look(&wanted("a"), Instant::now()), Look::Fetch));
    }

    #[test]
    fn a_key_that_is_held_serves_at_once_and_is_looked_for_again_when_it_is_due() {
        let start = Instant::now();
        let held = fetched(start);
        assert!(matches!(held.look(&wanted("a"), start + 299 * SECOND), Look::Found(_)));
        assert!(matches!(held.look(&wanted("a"), start + 300 * SECOND), Look::Due(_)));
    }

    #[test]
    fn while_fetches_fail_a_key_serves_as_long_as_it_is_told_and_no_longer() {
        let start = Instant::now();
        let mut held = fetched(start);
        for seconds in (300..3600).step_by(10) {
            assert!(matches!(held.look(&wanted("a"), start + seconds * SECOND), Look::Due(_)), "{seconds}");
            held.begin(start + seconds * SECOND);
            held.end();
        }
        assert!(matches!(held.look(&wanted("a"), start + 3599 * SECOND), Look::Found(_)));
        assert!(held.look(&wanted("a"), start + 3600 * SECOND).key().is_none());
    }

    /// Of many calls at a cold start, the first one fetches, and none of the others is rejected because of
    /// it.
    #[test]
    fn a_key_that_a_fetch_under_way_may_bring_is_waited_for() {
        let start = Instant::now();
        let mut held = Held::new(3600 * SECOND);
        held.begin(start);
        assert!(matches!(held.look(&wanted("a"), start + SECOND), Look::Fetch));
        held.end();
        assert!(matches!(held.look(&wanted("a"), start + SECOND), Look::Absent));
    }

    #[test]
    fn a_key_that_is_not_held_is_fetched_once_in_ten_seconds() {
        let start = Instant::now();
        let held = fetched(start);
        assert!(matches!(held.look(&wanted("b"), start + 9 * SECOND), Look::Absent));
        assert!(matches!(held.look(&wanted("b"), start + 10 * SECOND), Look::Fetch));
    }
}
