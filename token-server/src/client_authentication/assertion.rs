//! `private_key_jwt`: a client proves who it is with a signature. RFC 7523 section 3, RFC 7521 section 5.2.
//!
//! The audience is the issuer identifier alone, as a string (RFC 10070): an assertion that several servers accept
//! can be replayed by one against another. An operator may accept the token endpoint from single clients. Each assertion
//! is used once and lives for minutes.
//!
//! One signature is checked for every assertion, whatever comes of it: with the client's key, or with one that
//! is nobody's. So an unknown client costs what a bad signature costs.

mod dummy;
mod remote;
mod replay;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use token_interceptor::{
    clock::{numeric_date, numeric_date_of},
    signature::{Algorithm, VerifyingKey},
    verify::jws::Jws,
};

pub use remote::Reach;

use crate::{
    client::{
        Client, CredentialKind,
        work::{Step, takes},
    },
    error::{AuthenticationFailure, IssueError},
    store::AssertionStore,
};

/// No assertion lives longer.
const LIFETIME_MAX: Duration = Duration::from_secs(300);
/// How far the clocks of client and issuer may disagree.
const LEEWAY: Duration = Duration::from_secs(10);
/// The longest assertion that is looked at.
const ASSERTION_BYTES_MAX: usize = 8 * 1024;
/// RFC 10070: a type of its own.
const TYPES: [&str; 2] = ["client-authentication+jwt", "application/client-authentication+jwt"];
/// What libraries write that are older than it; most write no type at all.
const OLDER_TYPE: &str = "JWT";
/// A key set at a `jwks_uri` that could not be fetched again serves for so long, unless the operator says otherwise.
const SERVED_MAX: Duration = Duration::from_secs(3600);

/// What an operator chooses about assertions.
#[derive(Clone, Debug)]
pub struct AssertionRules {
    /// Refuse assertions without the type of RFC 10070.
    pub type_required: bool,
    /// Where a client's `jwks_uri` may lead.
    pub reach: Reach,
    /// Certificates, as PEM, that are trusted there beside the machine's own roots.
    pub roots_pem: Vec<u8>,
    /// How long a key set from there serves that cannot be fetched again.
    pub served_max: Duration,
}

impl Default for AssertionRules {
    /// Any usual type, the public Internet, an hour.
    fn default() -> Self {
        Self { type_required: false, reach: Reach::Public, roots_pem: Vec::new(), served_max: SERVED_MAX }
    }
}

/// An assertion that somebody presented. Nothing in it is believed.
pub struct UnverifiedAssertion {
    client_id: String,
    text: SecretString,
}

impl UnverifiedAssertion {
    /// Reads who it claims to come from. `client_id` is what the request says beside it.
    ///
    /// # Errors
    ///
    /// When it is no JWT, or the two disagree: RFC 7521 section 4.2.
    pub(crate) fn parse(text: String, client_id: Option<&str>) -> Result<Self, AuthenticationFailure> {
        const MALFORMED: AuthenticationFailure = AuthenticationFailure::Malformed;
        if text.len() > ASSERTION_BYTES_MAX {
            return Err(MALFORMED);
        }
        let jws = Jws::parse_foreign(&text).map_err(|_| MALFORMED)?;
        let subject = jws.claims.get("sub").and_then(Value::as_str).ok_or(MALFORMED)?.to_owned();
        if client_id.is_some_and(|client_id| client_id != subject) {
            return Err(AuthenticationFailure::AssertionRefused("client_id is not its sub"));
        }
        Ok(Self { client_id: subject, text: text.into() })
    }

    /// Who it claims to come from.
    #[must_use]
    pub fn claimed_id(&self) -> &str {
        &self.client_id
    }
}

impl fmt::Debug for UnverifiedAssertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedAssertion").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// Checks assertions, and remembers those that were used.
#[derive(Debug)]
pub struct Assertions {
    issuer: Arc<str>,
    token_endpoint: String,
    type_required: bool,
    replays: replay::Replays,
    dummies: dummy::DummyKeys,
    remote: remote::RemoteKeys,
}

impl Assertions {
    /// For assertions that are made out to `issuer`, or by clients that may do so to `token_endpoint`; `used` remembers
    /// them for every replica.
    #[must_use]
    pub fn new(issuer: Arc<str>, token_endpoint: String, rules: AssertionRules, used: Arc<dyn AssertionStore>) -> Self {
        let AssertionRules { type_required, reach, roots_pem, served_max } = rules;
        Self {
            issuer,
            token_endpoint,
            type_required,
            replays: replay::Replays::new(used),
            dummies: dummy::DummyKeys::make(),
            remote: remote::RemoteKeys::new(reach, roots_pem, served_max),
        }
    }

    /// Checks the assertion. `client` is the one registered under the claimed ID, if there is one.
    ///
    /// # Errors
    ///
    /// [`IssueError::ClientAuthenticationFailed`] for whatever does not fit.
    pub(super) async fn verify(
        &self,
        assertion: &UnverifiedAssertion,
        client: Option<&Client>,
        now: SystemTime,
    ) -> Result<Accepted, IssueError> {
        let jws = Jws::parse_foreign(assertion.text.expose_secret()).map_err(|_| refused("it is malformed"))?;
        let candidate = match client {
            Some(client) => self.candidate(client, &jws, now).await,
            None => None,
        };
        let key = candidate.as_ref().map_or_else(|| self.dummies.key(jws.algorithm), |candidate| Some(candidate.key()));
        let verifies = key.is_some_and(|key| {
            takes(Step::SignatureCheck);
            key.verifies(jws.signed, &jws.signature)
        });
        let candidate = candidate.ok_or(refused("no live key of the client fits"))?;
        if !verifies {
            return Err(refused("the signature is not valid"));
        }
        check_type(jws.token_type.as_deref(), self.type_required)?;
        let accepts_endpoint = client.is_some_and(|client| client.accept_token_endpoint_audience);
        let addressee = self.addressee(jws.claims.get("aud"), accepts_endpoint);
        let addressee = addressee.ok_or(refused("aud is not the issuer identifier alone"))?;
        let expires = check_claims(&jws.claims, &assertion.client_id, now)?;
        let token_id = text(&jws.claims, "jti").ok_or(refused("it has no jti"))?;
        // The last check: only an assertion that is good in every other way is used up.
        self.replays.use_once(&assertion.client_id, token_id, expires + LEEWAY, now).await?;
        Ok(Accepted { credential_id: candidate.credential_id(), addressee })
    }

    /// The party that the assertion is made out to, where it may be that one. RFC 10070; with `accepts_endpoint` RFC 7523
    /// section 3 item 3, for libraries that are older.
    fn addressee(&self, audience: Option<&Value>, accepts_endpoint: bool) -> Option<Addressee> {
        let audience = match audience? {
            Value::String(only) => only,
            Value::Array(several) if accepts_endpoint => match &**several {
                [Value::String(only)] => only,
                _ => return None,
            },
            Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return None,
        };
        if *audience == *self.issuer {
            Some(Addressee::Issuer)
        } else {
            (accepts_endpoint && *audience == self.token_endpoint).then_some(Addressee::TokenEndpoint)
        }
    }

    /// The one key that the assertion can be signed with: a registered one, or one at the client's `jwks_uri`.
    async fn candidate<'a>(&self, client: &'a Client, jws: &Jws<'_>, now: SystemTime) -> Option<Candidate<'a>> {
        if let Some(registered) = registered(client, jws, now) {
            return Some(registered);
        }
        let uri = client.jwks_uri.as_deref().filter(|_| !client.disabled)?;
        self.remote.find(uri, jws).await.map(Candidate::Fetched)
    }
}

/// An assertion that was accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    /// The ID of the credential that it is signed with, where its key is registered as one.
    pub(super) credential_id: Option<String>,
    /// The party that it is made out to.
    pub(super) addressee: Addressee,
}

/// The party that an assertion is made out to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addressee {
    Issuer,
    TokenEndpoint,
}

/// The `exp`.
fn check_claims(claims: &Map<String, Value>, client_id: &str, now: SystemTime) -> Result<SystemTime, IssueError> {
    if text(claims, "iss") != Some(client_id) || text(claims, "sub") != Some(client_id) {
        return Err(refused("iss and sub are not the client"));
    }
    let (now, leeway) = (numeric_date(now), LEEWAY.as_secs());
    let expires = time(claims, "exp", false)?.ok_or(refused("it has no exp"))?;
    if now >= expires.saturating_add(leeway) {
        return Err(refused("it has expired"));
    }
    if expires > now + LIFETIME_MAX.as_secs() + leeway {
        return Err(refused("it lives too long"));
    }
    for start in ["iat", "nbf"] {
        if time(claims, start, true)?.is_some_and(|start| start > now + leeway) {
            return Err(refused("its iat or nbf is in the future"));
        }
    }
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(expires))
}

/// A key that an assertion can be signed with.
enum Candidate<'a> {
    Registered(&'a str, &'a VerifyingKey),
    Fetched(Arc<VerifyingKey>),
}

impl Candidate<'_> {
    fn key(&self) -> &VerifyingKey {
        match self {
            Self::Registered(_, key) => key,
            Self::Fetched(key) => key,
        }
    }

    fn credential_id(&self) -> Option<String> {
        match self {
            Self::Registered(id, _) => Some((*id).to_owned()),
            Self::Fetched(_) => None,
        }
    }
}

/// The one live key among the client's credentials. More than one that fits is none: trying several would take
/// longer for a client that exists.
fn registered<'a>(client: &'a Client, jws: &Jws<'_>, now: SystemTime) -> Option<Candidate<'a>> {
    let live = client.credentials.iter().filter(|credential| credential.is_live(now));
    let mut fitting = live.filter_map(|credential| {
        let CredentialKind::PublicKey(jwk) = &credential.kind else { return None };
        fits(jwk.key(), jws.key_id.as_deref(), jws.algorithm)
            .then_some(Candidate::Registered(&credential.id, jwk.key()))
    });
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Some(only),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

/// By `kid` where both have one, and by algorithm.
fn fits(key: &VerifyingKey, key_id: Option<&str>, algorithm: Algorithm) -> bool {
    let named = match (key_id, key.key_id()) {
        (Some(wanted), Some(key_id)) => wanted == key_id,
        (None, _) | (Some(_), None) => true,
    };
    named && key.algorithm() == algorithm
}

/// RFC 8725 section 3.11: an access token, or whatever else the client signs, is not taken for an assertion.
fn check_type(token_type: Option<&str>, required: bool) -> Result<(), IssueError> {
    match token_type {
        Some(named) if TYPES.iter().any(|known| known.eq_ignore_ascii_case(named)) => Ok(()),
        None if !required => Ok(()),
        Some(named) if !required && OLDER_TYPE.eq_ignore_ascii_case(named) => Ok(()),
        Some(_) | None => Err(refused("its typ is another")),
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// RFC 7519 section 2: a time may have a fraction. It is rounded to the side that accepts less.
fn time(claims: &Map<String, Value>, name: &str, round_up: bool) -> Result<Option<u64>, IssueError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_u64().or_else(|| numeric_date_of(value.as_f64()?, round_up));
    seconds.map(Some).ok_or(refused("a time is not a number of seconds"))
}

const fn refused(why: &'static str) -> IssueError {
    IssueError::ClientAuthenticationFailed(AuthenticationFailure::AssertionRefused(why))
}
