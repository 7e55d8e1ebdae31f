//! Many tokens and many revocations: what a rotation costs, and one more revocation.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderValue, Request};
use token_interceptor::{
    clock::SystemClock,
    key_set::{KeySet, LiveKeySet},
    layer::{Authorization, AuthorizationLayer},
    revocation::Revocations,
    test_util::TestIssuer,
    verify::{TrustedIssuer, Verifier},
};
use token_proto::policy::Requirement;
use tonic::body::Body;
use tower::{Layer as _, Service as _};

use crate::turns::{Nothing, finish, medians, timed_calls};

/// Cached tokens. Their cache is larger than they are.
pub(crate) const TOKENS: usize = 20_000;
const CACHE_BYTES: u64 = 256 * 1024 * 1024;
/// Passes over the tokens. Odd, so that there is a median.
const PASSES: usize = 9;

/// Revocations in the larger set.
pub(crate) const REVOKED: usize = 100_000;

/// A service that has seen many tokens.
struct Rotation {
    issuer: TestIssuer,
    keys: LiveKeySet,
    tokens: Vec<HeaderValue>,
    protected: RefCell<Authorization<Nothing>>,
}

impl Rotation {
    fn new() -> Self {
        let issuer = TestIssuer::new("https://issuer.example");
        let keys = LiveKeySet::new(KeySet::from_jwks(issuer.jwks().as_bytes()).unwrap());
        let trusted = TrustedIssuer::live(issuer.issuer(), keys.clone()).unwrap();
        let builder = Verifier::builder().issuer(trusted).clock(SystemClock::shared()).cache_bytes_max(CACHE_BYTES);
        let layer = AuthorizationLayer::requiring(builder.build().unwrap(), "inventory", Requirement::any_token());
        let token = || issuer.token().claim("exp", 4_000_000_000_u64).sign();
        let tokens = (0..TOKENS).map(|_| HeaderValue::try_from(format!("Bearer {}", token())).unwrap());
        Self { keys, tokens: tokens.collect(), protected: layer.layer(Nothing).into(), issuer }
    }

    /// Sends each token once. Returns the time of one.
    fn pass(&self) -> Duration {
        let tokens = RefCell::new(self.tokens.iter());
        let request = || {
            let mut request = Request::new(Body::empty());
            request.headers_mut().insert("authorization", tokens.borrow_mut().next().unwrap().clone());
            request
        };
        let time = timed_calls(TOKENS, request, |request| finish(self.protected.borrow_mut().call(request)));
        time / u32::try_from(TOKENS).unwrap()
    }

    /// Replaces the keys by the same key and a new one.
    fn rotate(&self) {
        let (old, new) = (self.issuer.key().public_jwk(), self.issuer.rotated());
        let document = format!(r#"{{"keys":[{},{}]}}"#, old.to_json(), new.key().public_jwk().to_json());
        self.keys.replace(KeySet::from_jwks(document.as_bytes()).unwrap());
    }
}

/// The cost for one token, or of one revocation.
pub(crate) struct Figures {
    pub(crate) unseen: Duration,
    pub(crate) seen: Duration,
    /// The first time after a rotation in which the token's own key stayed.
    pub(crate) rotated: Duration,
    pub(crate) first_revocations: Duration,
    /// On top of [`REVOKED`] others.
    pub(crate) later_revocations: Duration,
}

impl Figures {
    pub(crate) fn measure() -> Self {
        let case = Rotation::new();
        let unseen = case.pass();
        let (mut seen, mut rotated) = (Vec::new(), Vec::new());
        for _ in 0..PASSES {
            seen.push(case.pass());
            case.rotate();
            rotated.push(case.pass());
        }
        let median = |mut times: Vec<Duration>| {
            times.sort_unstable();
            times.get(PASSES / 2).copied().unwrap_or_default()
        };
        let [first_revocations, later_revocations] = revocations();
        Self { unseen, seen: median(seen), rotated: median(rotated), first_revocations, later_revocations }
    }
}

fn revocations() -> [Duration; 2] {
    let forget_at = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let number = Cell::new(0_u64);
    let revoke = |set: &Revocations, count: usize| {
        let ids: Vec<_> = (0..count).map(|_| format!("token-{}", number.replace(number.get() + 1))).collect();
        let start = Instant::now();
        for id in &ids {
            set.revoke_token(id, forget_at);
        }
        start.elapsed()
    };
    let large = Revocations::new();
    revoke(&large, REVOKED);
    medians(51, 200, [&|count| revoke(&Revocations::new(), count), &|count| revoke(&large, count)])
}
