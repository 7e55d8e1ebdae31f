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
/// Keys that are tried for one assertion, where several match (RFC 7517 section 4.5). Each costs one
/// signature check.
const CANDIDATES_MAX: usize = 4;
/// Reasons of unusable keys that an error names.
const REASONS_MAX: usize = 4;

/// The keys that can have signed an assertion: one at least, [`CANDIDATES_MAX`] at most.
pub(super) type Candidates = Vec<Arc<VerifyingKey>>;

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
    Found(Candidates),
    /// Found, and the set is due to be fetched again.
    Due(Candidates),
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
    pub(super) fn keys(self) -> Option<Candidates> {
        match self {
            Self::Found(keys) | Self::Due(keys) => Some(keys),
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
            Some(keys) if rested && !within(self.fetched, MAX_AGE) => Look::Due(keys),
            Some(keys) => Look::Found(keys),
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

    fn find(&self, wanted: &Wanted) -> Option<Candidates> {
        let fits = |key: &&Arc<VerifyingKey>| super::super::fits(key, wanted.key_id.as_deref(), wanted.algorithm);
        let fitting: Candidates = self.keys.iter().filter(fits).take(CANDIDATES_MAX).cloned().collect();
        (!fitting.is_empty()).then_some(fitting)
    }
}

/// Parses the set and skips keys that cannot be used: RFC 7517 section 5. A set that lists keys, none of them
/// usable, is a mistake of the client or of a proxy, so it is an error. An empty set is accepted.
pub(super) fn parse(document: &[u8]) -> Result<Vec<Arc<VerifyingKey>>, String> {
    let (mut keys, mut reasons) = (Vec::new(), Vec::new());
    for key in jwks(document).map_err(|error| error.to_string())?.take(KEYS_MAX) {
        let parsed = json::object(key.as_bytes()).map_err(|error| error.to_string());
        match parsed.and_then(|jwk| VerifyingKey::from_jwk(&jwk).map_err(|error| error.to_string())) {
            Ok(key) => keys.push(Arc::new(key)),
            Err(reason) => reasons.push(reason),
        }
    }
    if keys.is_empty() && !reasons.is_empty() {
        let skipped = reasons.len();
        reasons.truncate(REASONS_MAX);
        return Err(format!("the key set has no usable key among {skipped}: {}", reasons.join("; ")));
    }
    Ok(keys)
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
    fn a_set_without_a_usable_key_is_an_error_and_an_empty_one_is_not() {
        let error = parse(br#"{"keys":[{"kty":"oct","k":"AA"},5]}"#).unwrap_err();
        assert!(error.starts_with("the key set has no usable key among 2: "), "{error}");
        assert!(parse(br#"{"keys":[]}"#).unwrap().is_empty());
    }

    /// RFC 7517 section 4.5. The number of signature checks is bounded.
    #[test]
    fn keys_with_one_id_are_all_found_up_to_a_bound() {
        let start = Instant::now();
        for (listed, found) in [(1, 1), (2, 2), (4, 4), (5, 4), (100, 4)] {
            let mut held = Held::new(3600 * SECOND);
            let many = vec![ED25519; listed].join(",");
            held.replace(parse(format!(r#"{{"keys":[{many}]}}"#).as_bytes()).unwrap(), start);
            assert_eq!(held.look(&wanted("a"), start).keys().unwrap().len(), found);
        }
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
        assert!(held.look(&wanted("a"), start + 3600 * SECOND).keys().is_none());
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
