//! Checks the token of a call in progress until the call ends.
//!
//! A call is authorized when it begins. A stream, an upgraded connection or a long loop in a handler may run
//! for hours, while its token expires or is revoked. An unreachable issuer ends no call.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use crate::{
    clock::numeric_date,
    error::{Denied, Unverified},
    policy::{TokenDemand, too_old},
    scheme::Identified,
    token::VerifiedToken,
    verify::{Seen, Verifier},
};

/// The longest wait before the clock is read again. The machine may have been suspended, or its clock set,
/// and no stream may outlive its token by more than this.
const DOZE_MAX: Duration = Duration::from_secs(1);
/// The minimum interval between two checks of a busy stream.
const LOOK_APART: Duration = Duration::from_millis(500);

/// The proof of who calls.
#[derive(Clone, Debug)]
pub(crate) enum Evidence {
    Token(Arc<Seen>),
    Scheme(Arc<Identified>),
}

impl Evidence {
    pub(crate) fn verified(&self) -> &VerifiedToken {
        match self {
            Self::Token(seen) => &seen.verified,
            Self::Scheme(identified) => &identified.verified,
        }
    }
}

/// The grounds on which a call was authorized. Clones are cheap.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) verifier: Verifier,
    pub(crate) demand: Arc<TokenDemand>,
}

/// One call in progress. Shared by everything that ends with it, so that all of it ends by one verdict.
#[derive(Debug)]
pub(crate) struct Ongoing {
    evidence: Evidence,
    terms: Terms,
    /// The time of the last check of revocation and key, or by the scheme, in milliseconds since 1970.
    looked_at: AtomicU64,
    ended: OnceLock<Denied>,
}

impl Ongoing {
    pub(crate) fn new(evidence: Evidence, terms: Terms) -> Self {
        let looked_at = millis(terms.verifier.now()).into();
        Self { evidence, terms, looked_at, ended: OnceLock::new() }
    }

    /// Returns the time until the next check.
    ///
    /// # Errors
    ///
    /// Returns an error if the call has to end. The verdict is final.
    pub(crate) fn look(&self) -> Result<Duration, Denied> {
        if let Some(ended) = self.ended.get() {
            return Err(ended.clone());
        }
        self.judge(self.terms.verifier.now()).map_err(|denied| self.ended.get_or_init(|| denied).clone())
    }

    fn judge(&self, now: SystemTime) -> Result<Duration, Denied> {
        let leeway = self.terms.verifier.leeway();
        let verified = self.evidence.verified();
        let left = time_left(verified.expires_at().checked_add(leeway), now).ok_or_else(|| {
            let expires = numeric_date(verified.expires_at());
            let expected = format!("more than {} less a leeway of {}", numeric_date(now), leeway.as_secs());
            Unverified::Expired.about("exp", expires.to_string(), expected)
        })?;
        let left = match self.terms.demand.requirement.max_token_age {
            None => left,
            Some(limit) => {
                // In whole seconds, as at the start of the call: a token is too old from one second past the
                // limit.
                let age = Duration::from_secs(limit.as_secs()).saturating_add(leeway) + Duration::from_secs(1);
                let end = verified.issued_at().checked_add(age);
                left.min(time_left(end, now).ok_or_else(|| too_old(limit, verified, now, leeway))?)
            }
        };
        // The wall clock may have been set back.
        let (now_millis, looked_at) = (millis(now), self.looked_at.load(Ordering::Relaxed));
        if now_millis.checked_sub(looked_at).is_none_or(|since| since >= millis_of(LOOK_APART)) {
            self.looked_at.store(now_millis, Ordering::Relaxed);
            match &self.evidence {
                Evidence::Token(seen) => self.terms.verifier.check_again(seen, &self.terms.demand.audience, now)?,
                Evidence::Scheme(identified) => identified.check_again(now)?,
            }
        }
        Ok(left.min(DOZE_MAX))
    }

    /// Waits until the call has to end.
    pub(crate) async fn ended(&self) -> Denied {
        loop {
            match self.look() {
                Ok(doze) => tokio::time::sleep(doze).await,
                Err(denied) => return denied,
            }
        }
    }
}

/// Returns `None` when `end` has passed. An end beyond the range of the clock never comes.
fn time_left(end: Option<SystemTime>, now: SystemTime) -> Option<Duration> {
    let Some(end) = end else { return Some(DOZE_MAX) };
    end.duration_since(now).ok().filter(|left| !left.is_zero())
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis_of)
}

fn millis_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
