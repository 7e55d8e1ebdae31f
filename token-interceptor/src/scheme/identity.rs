//! The identity that a credential proves, in the form in which the policy checks a token.

use std::{fmt, sync::Arc, time::SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::Asked;
use crate::{
    clock::{NUMERIC_DATE_MAX, numeric_date},
    error::{Denied, Unverified, quoted},
    token::{AtHand, Claims, VerifiedToken},
    verify::Verifier,
};

type Still = dyn Fn(SystemTime) -> Result<(), Denied> + Send + Sync;

/// The client behind a credential, and its rights.
///
/// The policy compares it as if it were a token: audience, times, scopes, callers, claims. Without
/// [`Identity::issued_at`] it counts as older than any `max_token_age`.
#[must_use]
pub struct Identity {
    client_id: String,
    audiences: Vec<String>,
    scope: String,
    issuer: Option<Arc<str>>,
    issued_at: u64,
    expires_at: u64,
    claims: Map<String, Value>,
    notices: HeaderMap,
    still: Option<Arc<Still>>,
    /// An identity that a verifier has checked already, audience and times included.
    verified: Option<VerifiedToken>,
}

/// An identity that was checked, for the length of a call.
pub(crate) struct Identified {
    pub(crate) scheme: &'static str,
    pub(crate) verified: VerifiedToken,
    still: Option<Arc<Still>>,
}

impl Identity {
    /// The identity of a client for these audiences, without scopes and without an end. A policy that names
    /// `callers` takes the client ID as that of the same client with a token.
    pub fn new<T: Into<String>>(client_id: impl Into<String>, audiences: impl IntoIterator<Item = T>) -> Self {
        Self {
            client_id: client_id.into(),
            audiences: audiences.into_iter().map(Into::into).collect(),
            scope: String::new(),
            issuer: None,
            issued_at: 0,
            expires_at: NUMERIC_DATE_MAX,
            claims: Map::new(),
            notices: HeaderMap::new(),
            still: None,
            verified: None,
        }
    }

    /// The identity of a token that the verifier has checked, audience and times included.
    pub(crate) fn of_token(verified: VerifiedToken) -> Self {
        Self { verified: Some(verified.clone()), ..Self::new(verified.client_id(), verified.audiences()) }
    }

    /// Grants these scopes. A name with a space is ignored, as a scope cannot contain one.
    pub fn scopes<T: AsRef<str>>(mut self, scopes: impl IntoIterator<Item = T>) -> Self {
        for scope in scopes {
            let scope = scope.as_ref();
            if !scope.is_empty() && !scope.contains(' ') {
                self.scope.push_str(if self.scope.is_empty() { "" } else { " " });
                self.scope.push_str(scope);
            }
        }
        self
    }

    /// Adds a claim, which a policy can demand a value of.
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// Names the party that vouches for the identity. Default: the name of the scheme.
    pub fn issuer(mut self, issuer: &str) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Sets the time at which the client proved itself, in whole seconds.
    pub fn issued_at(mut self, issued_at: SystemTime) -> Self {
        self.issued_at = numeric_date(issued_at);
        self
    }

    /// Sets the end of the identity, in whole seconds. Calls after it are rejected, and streams end, after
    /// the verifier's leeway.
    pub fn expires_at(mut self, expires_at: SystemTime) -> Self {
        self.expires_at = numeric_date(expires_at).min(NUMERIC_DATE_MAX);
        self
    }

    /// Adds a header field to each answer to a call with this identity, in gRPC as metadata.
    pub fn notice(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.notices.insert(name, value);
        self
    }

    /// Ends calls in progress, such as streams, once `still` returns an error. It is called up to twice a
    /// second for each, and must not block.
    pub fn while_ok(mut self, still: impl Fn(SystemTime) -> Result<(), Denied> + Send + Sync + 'static) -> Self {
        self.still = Some(Arc::new(still));
        self
    }

    /// Returns the header fields for the answer.
    pub(crate) fn take_notices(&mut self) -> HeaderMap {
        std::mem::take(&mut self.notices)
    }

    fn into_claims(self, scheme: &'static str) -> Claims {
        let mut members = self.claims;
        members.entry("sub").or_insert_with(|| self.client_id.as_str().into());
        members.insert("client_id".to_owned(), self.client_id.as_str().into());
        members.insert("scope".to_owned(), self.scope.as_str().into());
        Claims {
            issuer: self.issuer.unwrap_or_else(|| scheme.into()),
            expires_at: self.expires_at,
            issued_at: self.issued_at,
            not_before: None,
            actors: Vec::new(),
            at_hand: AtHand {
                client_id: self.client_id.into(),
                token_id: "".into(),
                scope: self.scope.into(),
                audiences: self.audiences.into_iter().map(Into::into).collect(),
            },
            client_id_is_unique: true,
            members,
        }
    }
}

/// Checks the identity's audience and times, as those of a token.
pub(crate) fn judge(
    identity: Identity,
    scheme: &'static str,
    verifier: &Verifier,
    asked: &Asked<'_>,
) -> Result<Identified, Denied> {
    let still = identity.still.clone();
    if let Some(verified) = &identity.verified {
        return Ok(Identified { scheme, verified: verified.clone(), still });
    }
    if identity.client_id.is_empty() {
        return Err(Denied::credential("identity", "the credential belongs to no client"));
    }
    let claims = identity.into_claims(scheme);
    if !claims.audiences().any(|audience| audience == asked.audience) {
        let came = claims.audiences().collect::<Vec<_>>().join(" ");
        return Err(Unverified::AudienceMismatch.about("aud", quoted(&came), quoted(asked.audience)).into());
    }
    verifier.check_times(&claims, asked.now)?;
    Ok(Identified { scheme, verified: VerifiedToken::new(claims), still })
}

impl Identified {
    /// Returns an error once a call in progress has to end.
    pub(crate) fn check_again(&self, now: SystemTime) -> Result<(), Denied> {
        self.still.as_ref().map_or(Ok(()), |still| still(now))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scopes = self.scope.as_str();
        f.debug_struct("Identity").field("client_id", &self.client_id).field("scopes", &scopes).finish_non_exhaustive()
    }
}

impl fmt::Debug for Identified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identified")
            .field("scheme", &self.scheme)
            .field("verified", &self.verified)
            .finish_non_exhaustive()
    }
}
