//! The search for the key of a token, and the reasons that there is no verdict.

use std::{sync::Arc, time::Duration};

use super::{issuer::Issuer, jws::Jws};
use crate::{
    error::{Unverified, VerifyError, kind_of, quoted},
    key_set::{schedule::UnknownKey, source::Lookup},
    signature::VerifyingKey,
};

/// The retry delay of a caller that cannot wait here for a key that is being fetched.
const KEY_ON_ITS_WAY: Duration = Duration::from_secs(1);

/// The reason that there is no verdict, or none yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    Refused(VerifyError),
    /// The token's key is not cached, and a fetch that may bring it is in flight.
    KeyOnItsWay(KeyWait),
}

/// A wait for a key, for [`Verifier::key_arrives`](super::Verifier::key_arrives).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyWait {
    pub(super) issuer: Arc<str>,
    pub(super) news: u64,
}

/// Returns the issuer's key that signed the token.
pub(super) fn signed_by(issuer: &Issuer, jws: &Jws<'_>, wait: KeyWait) -> Result<Arc<VerifyingKey>, Obstacle> {
    let unknown = match issuer.keys.find(jws.key_id.as_deref(), jws.algorithm) {
        Lookup::Keys(candidates) => {
            if let Some(key) = candidates.verifying(jws.signed, &jws.signature) {
                return Ok(key);
            }
            // Without `kid`, only the signature tells a key that is not cached yet from a forgery.
            if jws.key_id.is_some() {
                return Err(Unverified::SignatureInvalid.into());
            }
            match issuer.keys.unknown_key() {
                UnknownKey::Refuse => return Err(Unverified::SignatureInvalid.into()),
                unknown @ (UnknownKey::Wait | UnknownKey::Unavailable { .. }) => unknown,
            }
        }
        Lookup::OtherAlgorithm => {
            let expected = "the algorithm of the key that kid names";
            return Err(Unverified::AlgorithmNotAllowed.about("alg", quoted(jws.algorithm.name()), expected).into());
        }
        Lookup::Unknown(unknown) => unknown,
    };
    Err(match unknown {
        UnknownKey::Wait => Obstacle::KeyOnItsWay(wait),
        UnknownKey::Refuse => {
            let came = jws.key_id.as_deref().map_or_else(|| kind_of(None), quoted);
            Unverified::KeyUnknown.about("kid", came, "a key that the issuer publishes").into()
        }
        UnknownKey::Unavailable { retry_after } => Unverified::KeyUnavailable { retry_after }.into(),
    })
}

impl Obstacle {
    /// Returns the error for a caller that cannot wait.
    pub(crate) fn into_error(self) -> VerifyError {
        match self {
            Self::Refused(error) => error,
            Self::KeyOnItsWay(_) => Unverified::KeyUnavailable { retry_after: KEY_ON_ITS_WAY }.into(),
        }
    }
}

impl KeyWait {
    /// Returns the error for a caller that has waited long enough.
    pub(crate) fn given_up(&self) -> VerifyError {
        Obstacle::KeyOnItsWay(self.clone()).into_error()
    }
}

impl From<VerifyError> for Obstacle {
    fn from(error: VerifyError) -> Self {
        Self::Refused(error)
    }
}

impl From<Unverified> for Obstacle {
    fn from(kind: Unverified) -> Self {
        Self::Refused(kind.into())
    }
}
