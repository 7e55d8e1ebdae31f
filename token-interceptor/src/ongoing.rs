//! A call that goes on: its token is checked again and again until the call ends.
//!
//! A call is authorized once, when it begins. A stream, a connection that was upgraded, or a long loop in a handler may
//! go on for hours, while its token expires or is revoked. An issuer that cannot be asked at the moment ends nothing.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use crate::{
    cache::{CachedVerifier, Seen},
    clock::numeric_date,
    error::{Denial, Denied, Unverified, VerifyError},
    policy::TokenDemand,
};

/// The clock is read again after this long at the latest: the machine may have been suspended, or its clock set, and no
/// stream may outlive its token by more than this.
const DOZE_MAX: Duration = Duration::from_secs(1);
/// A stream that is never idle checks its token no more often than this.
const LOOK_APART: Duration = Duration::from_millis(500);

/// What a call was authorized by. Clones are cheap.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) tokens: Arc<CachedVerifier>,
    pub(crate) demand: Arc<TokenDemand>,
}

/// One call that goes on. Shared by everything that ends with it, so that all of it ends by one verdict.
#[derive(Debug)]
pub(crate) struct Ongoing {
    seen: Arc<Seen>,
    terms: Terms,
    /// When revocation and key were checked last, in milliseconds since 1970.
    looked_at: AtomicU64,
    ended: OnceLock<Denied>,
}

impl Ongoing {
    pub(crate) fn new(seen: Arc<Seen>, terms: Terms) -> Self {
        let looked_at = millis(terms.tokens.verifier().now()).into();
        Self { seen, terms, looked_at, ended: OnceLock::new() }
    }

    /// How long the call may go on before the next look.
    ///
    /// # Errors
    ///
    /// When the call has to end: the same for good.
    pub(crate) fn look(&self) -> Result<Duration, Denied> {
        if let Some(ended) = self.ended.get() {
            return Err(ended.clone());
        }
        self.judge(self.terms.tokens.verifier().now()).map_err(|denied| self.ended.get_or_init(|| denied).clone())
    }

    fn judge(&self, now: SystemTime) -> Result<Duration, Denied> {
        let leeway = self.terms.tokens.verifier().leeway();
        let verified = &self.seen.verified;
        let left = time_left(verified.expires_at().checked_add(leeway), now).ok_or_else(|| {
            let expires = numeric_date(verified.expires_at());
            let expected = format!("more than {} less a leeway of {}", numeric_date(now), leeway.as_secs());
            VerifyError::from(Unverified::Expired.about("exp", expires.to_string(), expected))
        })?;
        let left = match self.terms.demand.requirement.max_token_age {
            None => left,
            Some(age) => {
                // In whole seconds, as when the call began: one more than the age is too old.
                let age = Duration::from_secs(age.as_secs()).saturating_add(leeway) + Duration::from_secs(1);
                let end = verified.issued_at().checked_add(age);
                left.min(time_left(end, now).ok_or(Denial::TokenTooOld)?)
            }
        };
        // By the clock of the day, which may have been set back.
        let (now_millis, looked_at) = (millis(now), self.looked_at.load(Ordering::Relaxed));
        if now_millis.checked_sub(looked_at).is_none_or(|since| since >= millis_of(LOOK_APART)) {
            self.looked_at.store(now_millis, Ordering::Relaxed);
            self.terms.tokens.check_again(&self.seen, &self.terms.demand.audience, now)?;
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

/// `None` where `end` has come; an end beyond what the clock can show never comes.
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
