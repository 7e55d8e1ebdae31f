//! A trusted issuer at work: what of its tokens is accepted.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::claims::Profile;
use crate::{
    error::{Unverified, VerifyError},
    key_set::source::KeySource,
    revocation::Revocations,
    signature::Algorithm,
    token::Claims,
};

/// What a caller is told to wait once pushed trust is too old.
const RETRY_AFTER_STALE: Duration = Duration::from_secs(5);

/// A trusted issuer at work.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) id: Arc<str>,
    pub(super) keys: KeySource,
    pub(super) audiences: Option<BTreeSet<String>>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) token_types: Vec<String>,
    /// Whether a token without `typ` is accepted too.
    pub(super) untyped: bool,
    pub(super) profile: Profile,
    pub(super) revocations: Revocations,
}

impl Issuer {
    /// Whether what is known of this issuer may still be relied on.
    pub(super) fn check_fresh(&self) -> Result<(), VerifyError> {
        if self.keys.is_stale() {
            return Err(Unverified::KeyUnavailable { retry_after: RETRY_AFTER_STALE }.into());
        }
        Ok(())
    }

    pub(super) fn check_algorithm(&self, algorithm: Algorithm) -> Result<(), VerifyError> {
        if self.algorithms.contains(&algorithm) { Ok(()) } else { Err(Unverified::AlgorithmNotAllowed.into()) }
    }

    /// RFC 7515 section 4.1.9: a media type, case-insensitive, `application/` left out or not.
    pub(super) fn check_type(&self, token_type: Option<&str>) -> Result<(), VerifyError> {
        const PREFIX: &str = "application/";
        let Some(token_type) = token_type else {
            return if self.untyped { Ok(()) } else { Err(Unverified::TypeNotAllowed.into()) };
        };
        let short = match token_type.split_at_checked(PREFIX.len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
            Some(_) | None => token_type,
        };
        let accepted = self.token_types.iter().any(|accepted| accepted.eq_ignore_ascii_case(short));
        if accepted { Ok(()) } else { Err(Unverified::TypeNotAllowed.into()) }
    }

    pub(super) fn check_audience(&self, claims: &Claims, audience: &str) -> Result<(), VerifyError> {
        let allowed = self.audiences.as_ref().is_none_or(|audiences| audiences.contains(audience));
        let meant = claims.audiences().any(|one| one == audience);
        if allowed && meant { Ok(()) } else { Err(Unverified::AudienceMismatch.into()) }
    }
}
