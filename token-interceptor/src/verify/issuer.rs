//! A trusted issuer at run time: the rules for its tokens.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    jws::Jws,
    profile::{Place, TokenProfile, spiffe::trust_domain_of},
};
use crate::{
    clock::numeric_date,
    error::{Unverified, VerifyError, kind_of, quoted},
    key_set::source::KeySource,
    policy::matches,
    revocation::RevocationSets,
    signature::Algorithm,
    token::{Claims, VerifiedToken},
};

/// The retry delay of a caller when keys or pushed trust are too old.
const RETRY_AFTER_STALE: Duration = Duration::from_secs(5);

/// A trusted issuer at run time.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) id: Arc<str>,
    pub(super) keys: KeySource,
    pub(super) audiences: Option<BTreeSet<String>>,
    /// The names that its tokens give to an audience, if they are other ones.
    pub(super) audience_names: BTreeMap<String, BTreeSet<String>>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) profile: TokenProfile,
    pub(super) token_bytes_max: usize,
    /// The clients that it may issue tokens for: IDs, or prefixes and a final `*`. `None`: any.
    pub(super) clients: Option<Vec<String>>,
    /// The scopes that it may grant, in the same form. `None`: any.
    pub(super) scopes: Option<Vec<String>>,
    pub(super) revocations: RevocationSets,
}

impl Issuer {
    /// Returns an error if the state of this issuer is too old to rely on.
    pub(super) fn check_fresh(&self, now: SystemTime) -> Result<(), VerifyError> {
        self.keys.keep_fresh();
        if self.keys.is_stale(now) {
            return Err(Unverified::KeyUnavailable { retry_after: RETRY_AFTER_STALE }.into());
        }
        Ok(())
    }

    /// Checks the algorithm, and that only foreign tokens have a key in their header.
    pub(super) fn check_header(&self, jws: &Jws<'_>) -> Result<(), VerifyError> {
        if !self.profile.is_foreign() {
            jws.check_no_key()?;
        }
        if self.algorithms.contains(&jws.algorithm) {
            return Ok(());
        }
        let allowed: Vec<&str> = self.algorithms.iter().map(|algorithm| algorithm.name()).collect();
        let expected = format!("one of {allowed:?}");
        Err(Unverified::AlgorithmNotAllowed.about("alg", quoted(jws.algorithm.name()), expected))
    }

    /// RFC 7515 section 4.1.9: a media type, case-insensitive, `application/` left out or not.
    pub(super) fn check_type(&self, token_type: Option<&str>) -> Result<(), VerifyError> {
        const PREFIX: &str = "application/";
        let TokenProfile { types, untyped, .. } = &self.profile;
        let accepted = token_type.map_or(*untyped, |token_type| {
            let short = match token_type.split_at_checked(PREFIX.len()) {
                Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
                Some(_) | None => token_type,
            };
            types.iter().any(|accepted| accepted.eq_ignore_ascii_case(short))
        });
        if accepted {
            return Ok(());
        }
        let came = token_type.map_or_else(|| kind_of(None), quoted);
        let or_none = if *untyped { ", or none" } else { "" };
        Err(Unverified::TypeNotAllowed.about("typ", came, format!("one of {types:?}{or_none}")))
    }

    /// Checks the time from `iat` to `exp`, or without `iat` from `now`.
    pub(super) fn check_lifetime(&self, claims: &Claims, now: SystemTime) -> Result<(), VerifyError> {
        let Some(lifetime_max) = self.profile.lifetime_max else { return Ok(()) };
        let issued_at = if claims.issued_at == 0 { numeric_date(now) } else { claims.issued_at };
        let (lifetime, lifetime_max) = (claims.expires_at.saturating_sub(issued_at), lifetime_max.as_secs());
        if lifetime <= lifetime_max {
            return Ok(());
        }
        let (came, expected) = (format!("{lifetime} s after iat"), format!("at most {lifetime_max} s after iat"));
        Err(Unverified::LifetimeTooLong.about("exp", came, expected))
    }

    pub(super) fn check_audience(&self, claims: &Claims, audience: &str) -> Result<(), VerifyError> {
        let allowed = self.speaks_for(audience);
        let names = self.audience_names.get(audience);
        let meant = match names {
            Some(names) => claims.audiences().any(|one| names.contains(one)),
            None => claims.audiences().any(|one| one == audience),
        };
        if allowed && meant {
            return Ok(());
        }
        let expected = match names {
            _ if !allowed => format!("{}, for which this issuer is not trusted", quoted(audience)),
            Some(names) => format!("one of {names:?}"),
            None => quoted(audience),
        };
        let came = claims.audiences().collect::<Vec<_>>().join(" ");
        Err(Unverified::AudienceMismatch.about(self.profile.audience.name(), quoted(&came), expected))
    }

    /// Returns true if its tokens name clients. Identity tokens do not.
    pub(super) fn names_clients(&self) -> bool {
        self.profile.client.is_some()
    }

    /// Returns true if its tokens are accepted for `audience`.
    pub(super) fn speaks_for(&self, audience: &str) -> bool {
        self.audiences.as_ref().is_none_or(|audiences| audiences.contains(audience))
    }

    /// Returns true if its client IDs are declared, or can be no other issuer's.
    pub(super) fn declares_clients(&self) -> bool {
        self.clients.is_some() || self.profile.is_of_own_domain()
    }

    /// Returns true if it may issue tokens to a client of this ID.
    pub(super) fn may_have_client(&self, client_id: &str) -> bool {
        if self.profile.is_of_own_domain() && trust_domain_of(client_id) != Some(&*self.id) {
            return false;
        }
        self.clients.as_ref().is_none_or(|clients| among(clients, client_id))
    }

    /// Returns true if both may issue tokens to clients for one audience.
    pub(super) fn shares_an_audience(&self, other: &Self) -> bool {
        if !self.names_clients() || !other.names_clients() {
            return false;
        }
        match (&self.audiences, &other.audiences) {
            (Some(own), Some(others)) => !own.is_disjoint(others),
            (None, _) | (_, None) => true,
        }
    }

    /// Checks the claims against this issuer's rights: its own clients, and the scopes that it grants.
    pub(super) fn limit(&self, claims: &mut Claims) -> Result<(), VerifyError> {
        if let Some(scopes) = &self.scopes {
            claims.retain_scopes(|scope| among(scopes, scope));
        }
        match &self.clients {
            Some(clients) if !among(clients, claims.client_id()) => {
                let came = quoted(claims.client_id());
                let claim = self.profile.client.as_ref().map_or("client_id".into(), Place::name);
                Err(Unverified::ClientNotTrusted.about(claim, came, format!("one of {clients:?}")))
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn check_revoked(&self, token: &VerifiedToken) -> Result<(), VerifyError> {
        if !self.revocations.revokes(token) {
            return Ok(());
        }
        Err(Unverified::Revoked.about("jti", quoted(token.token_id()), "a token that is not revoked"))
    }
}

/// Returns true if one of the names or prefixes is that of `name`.
fn among(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, name))
}
