//! The issuers that a verifier trusts. Issuers are added and removed while it verifies.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use arc_swap::{ArcSwap, Guard};
use serde_json::{Map, Value};

use super::{
    BuildError, claims,
    issuer::Issuer,
    profile::{NamedBy, spiffe::trust_domain_of},
};
use crate::error::{Unverified, VerifyError, quoted};

/// Issuers that a log line names, at most.
const ISSUERS_NAMED: usize = 4;

/// The trusted issuers at one moment, by identifier.
#[derive(Clone, Debug, Default)]
pub(super) struct Issuers {
    by_id: BTreeMap<Arc<str>, Arc<Issuer>>,
    /// The length of the longest token that any of them may send.
    token_bytes_max: Option<usize>,
}

/// The trusted issuers, as they change.
#[derive(Debug)]
pub(super) struct TrustedIssuers {
    current: ArcSwap<Issuers>,
    /// Rises after each change, so that cached verdicts are checked again.
    version: AtomicU64,
    /// Held during a change.
    change: Mutex<()>,
}

impl TrustedIssuers {
    pub(super) fn new(issuers: Issuers) -> Self {
        Self { current: ArcSwap::from_pointee(issuers), version: AtomicU64::new(0), change: Mutex::new(()) }
    }

    /// Returns the issuers at this moment.
    pub(super) fn now(&self) -> Guard<Arc<Issuers>> {
        self.current.load()
    }

    /// Read it before [`TrustedIssuers::now`], so that a later change is noticed next time.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn add(&self, issuer: Issuer) -> Result<(), BuildError> {
        let _change = self.change();
        let mut issuers = Issuers::clone(&self.now());
        issuers.insert(issuer)?;
        self.store(issuers);
        Ok(())
    }

    /// Returns true if the issuer was trusted.
    pub(super) fn remove(&self, id: &str) -> bool {
        let _change = self.change();
        let mut issuers = Issuers::clone(&self.now());
        let Some(removed) = issuers.by_id.remove(id) else { return false };
        issuers.token_bytes_max = issuers.by_id.values().map(|issuer| issuer.token_bytes_max).max();
        self.store(issuers);
        // Cached verdicts may keep the issuer in memory, but must not keep its task alive.
        removed.keys.end();
        true
    }

    fn store(&self, issuers: Issuers) {
        self.current.store(Arc::new(issuers));
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// A change replaces the set as a whole, so a panic leaves nothing half changed.
    fn change(&self) -> MutexGuard<'_, ()> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Issuers {
    pub(super) fn insert(&mut self, issuer: Issuer) -> Result<(), BuildError> {
        if self.by_id.contains_key(&issuer.id) {
            return Err(BuildError::new(&issuer.id, "the issuer is trusted already"));
        }
        self.token_bytes_max = self.token_bytes_max.max(Some(issuer.token_bytes_max));
        self.by_id.insert(Arc::clone(&issuer.id), Arc::new(issuer));
        Ok(())
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_id.keys()
    }

    /// Returns an issuer whose keys are not there yet.
    pub(super) fn unready(&self, now: SystemTime) -> Option<&Arc<Issuer>> {
        self.by_id.values().find(|issuer| !issuer.keys.is_ready(now))
    }

    pub(super) fn named(&self, id: &str) -> Option<&Arc<Issuer>> {
        self.by_id.get(id)
    }

    /// Returns true if exactly this value is still trusted.
    pub(super) fn holds(&self, issuer: &Arc<Issuer>) -> bool {
        self.named(&issuer.id).is_some_and(|held| Arc::ptr_eq(held, issuer))
    }

    /// Returns the length of the longest token that any issuer may send; `None` without an issuer.
    pub(super) fn token_bytes_max(&self) -> Option<usize> {
        self.token_bytes_max
    }

    /// RFC 9068 section 4: exactly one of the trusted issuers. `iss` names it, or else the trust domain of
    /// `sub` (SPIFFE JWT-SVID section 3). Keys are never tried to find it.
    pub(super) fn of(&self, claims: &Map<String, Value>) -> Result<&Arc<Issuer>, VerifyError> {
        let named = |id: &str, by: NamedBy| self.named(id).filter(|issuer| issuer.profile.issuer == by);
        let unknown = |claim: &'static str, id: &str| {
            let trusted: Vec<&Arc<str>> = self.ids().take(ISSUERS_NAMED).collect();
            Unverified::IssuerUnknown.about(claim, quoted(id), format!("one of {trusted:?}"))
        };
        let trust_domain = claims.get("sub").and_then(Value::as_str).and_then(trust_domain_of);
        let by_trust_domain = |domain: &str| named(domain, NamedBy::TrustDomain);
        match trust_domain {
            Some(domain) if !claims.contains_key("iss") => {
                by_trust_domain(domain).ok_or_else(|| unknown("sub", domain))
            }
            Some(_) | None => {
                let id = claims::text(claims, "iss")?;
                let found = named(id, NamedBy::Issuer).or_else(|| by_trust_domain(trust_domain?));
                found.ok_or_else(|| unknown("iss", id))
            }
        }
    }

    /// RFC 9068 section 4 makes a client ID unique only within an issuer. Returns true if no other issuer may
    /// have a client of this ID for one of the issuer's audiences, or the issuer's own clients are declared.
    /// The `client_id` of an identity token is no client's, unless it is declared.
    pub(super) fn client_id_is_unique(&self, issuer: &Issuer, client_id: &str) -> bool {
        let others = || self.by_id.values().filter(|other| other.id != issuer.id);
        let may_be_anothers =
            || others().any(|other| other.shares_an_audience(issuer) && other.may_have_client(client_id));
        issuer.declares_clients() || (issuer.names_clients() && !may_be_anothers())
    }

    /// Returns true if of the issuers for `audience` all but one have declared their clients.
    pub(super) fn tells_callers_apart(&self, audience: &str) -> bool {
        let speaks = |issuer: &&Arc<Issuer>| issuer.names_clients() && issuer.speaks_for(audience);
        self.by_id.values().filter(speaks).filter(|issuer| !issuer.declares_clients()).count() <= 1
    }
}
