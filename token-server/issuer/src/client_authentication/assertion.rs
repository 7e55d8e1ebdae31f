//! `private_key_jwt`: a client authenticates with a signature. RFC 7523 section 3, RFC 7521 section 5.2.
//!
//! The audience is the issuer identifier alone, as a string (RFC 10070). If several servers accepted one
//! assertion, one of them could replay it against another. For single clients, the operator may also accept
//! the token endpoint as the audience. Each assertion is used once and lives for minutes.
//!
//! Every assertion costs one signature check: with the client's key, or with a dummy key. An unknown client
//! therefore costs what an invalid signature costs. Only a client that publishes several keys under one key
//! ID at its `jwks_uri` costs more: four at most.

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
    urn,
    verify::{jws::Jws, spiffe::trust_domain_of},
};

pub use remote::Reach;

use crate::{
    client::{Client, CredentialKind},
    cost::{Step, takes},
    error::{AuthenticationFailure, IssueError},
    store::AssertionStore,
};

/// The longest lifetime of an assertion.
const LIFETIME_MAX: Duration = Duration::from_secs(300);
/// The tolerated difference between the clocks of client and issuer.
const LEEWAY: Duration = Duration::from_secs(10);
/// The longest assertion that is parsed, in bytes, also if an issuer's `token_bytes` is larger. Entra ID
/// writes up to 200 groups into one, 14 KiB.
const ASSERTION_BYTES_MAX: usize = 16 * 1024;
/// The types that RFC 10070 defines.
const TYPES: [&str; 2] = ["client-authentication+jwt", "application/client-authentication+jwt"];
/// The type that older libraries write. Most of them write none.
const OLDER_TYPE: &str = "JWT";
/// The default time that a cached key set from a `jwks_uri` stays in use when it cannot be fetched again.
const SERVED_MAX: Duration = Duration::from_secs(3600);

/// The operator's settings for assertions.
#[derive(Clone, Debug)]
pub struct AssertionRules {
    /// Reject assertions without the type of RFC 10070.
    pub type_required: bool,
    /// The addresses that a client's `jwks_uri` may lead to.
    pub reach: Reach,
    /// CA certificates in PEM, trusted for `jwks_uri` in addition to the machine's own roots.
    pub roots_pem: Vec<u8>,
    /// The time that a cached key set stays in use when it cannot be fetched again.
    pub served_max: Duration,
}

impl Default for AssertionRules {
    /// Any usual type, the public Internet, one hour.
    fn default() -> Self {
        Self { type_required: false, reach: Reach::Public, roots_pem: Vec::new(), served_max: SERVED_MAX }
    }
}

/// The type of an assertion, as the request names it.
///
/// Exhaustive: the issuer must choose the way to verify a new type before it compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionType {
    /// A JWT of the client itself, or of another issuer. RFC 7523 section 2.2.
    JwtBearer,
    /// A JWT-SVID. draft-ietf-oauth-spiffe-client-auth-02.
    JwtSpiffe,
}

impl AssertionType {
    /// Returns the type with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            urn::JWT_BEARER_ASSERTION => Some(Self::JwtBearer),
            urn::JWT_SPIFFE_ASSERTION => Some(Self::JwtSpiffe),
            _ => None,
        }
    }
}

/// An assertion as it was presented. Nothing in it is trusted yet.
pub struct UnverifiedAssertion {
    kind: AssertionType,
    client_id: Option<String>,
    issuer: Option<String>,
    subject: String,
    text: SecretString,
}

impl UnverifiedAssertion {
    /// Reads the claims that choose the way to verify it. `client_id` is the parameter of the request.
    ///
    /// # Errors
    ///
    /// When the text is not a JWT with `sub`, or it is too long.
    pub fn parse(kind: AssertionType, text: String, client_id: Option<String>) -> Result<Self, AuthenticationFailure> {
        const MALFORMED: AuthenticationFailure = AuthenticationFailure::Malformed;
        if text.len() > ASSERTION_BYTES_MAX {
            return Err(MALFORMED);
        }
        let jws = Jws::parse_foreign(&text).map_err(|_| MALFORMED)?;
        let claim = |name: &str| self::text(&jws.claims, name).map(str::to_owned);
        let (issuer, subject) = (claim("iss"), claim("sub").ok_or(MALFORMED)?);
        Ok(Self { kind, client_id, issuer, subject, text: text.into() })
    }

    /// The parameter `client_id` of the request.
    pub(super) fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// The type.
    pub(super) fn kind(&self) -> AssertionType {
        self.kind
    }

    /// The claimed issuer: `iss`, or the trust domain of a SPIFFE ID, as `spiffe://example.org`. A JWT-SVID
    /// needs no `iss`.
    pub(super) fn issuer(&self) -> Option<&str> {
        match self.kind {
            AssertionType::JwtBearer => self.issuer.as_deref(),
            AssertionType::JwtSpiffe => trust_domain_of(&self.subject),
        }
    }

    /// The assertion itself.
    pub(super) fn text(&self) -> &SecretString {
        &self.text
    }

    /// The claimed client ID: `client_id`, or else the subject of an assertion that its subject has signed.
    /// Empty if another issuer has signed it.
    #[must_use]
    pub fn claimed_id(&self) -> &str {
        let named = self.issuer.as_ref().is_none_or(|issuer| *issuer == self.subject);
        let own = named && self.kind == AssertionType::JwtBearer;
        self.client_id.as_deref().unwrap_or(if own { &self.subject } else { "" })
    }

    /// Returns true if the client itself claims to have signed it, so that its own key decides.
    pub(super) fn is_of_its_client(&self) -> bool {
        self.kind == AssertionType::JwtBearer && self.issuer.as_deref() == Some(self.claimed_id())
    }
}

impl fmt::Debug for UnverifiedAssertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedAssertion").field("client_id", &self.claimed_id()).finish_non_exhaustive()
    }
}

/// Verifies assertions and remembers the used ones.
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
    /// Accepts assertions for the audience `issuer`, and from clients that may use it, `token_endpoint`.
    /// `used` stores used assertions for every replica.
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

    /// Verifies the assertion. `client` is the client registered under the claimed ID, if there is one.
    ///
    /// # Errors
    ///
    /// [`IssueError::ClientAuthenticationFailed`] for every invalid assertion.
    pub(super) async fn verify(
        &self,
        assertion: &UnverifiedAssertion,
        client: Option<&Client>,
        now: SystemTime,
    ) -> Result<Accepted, IssueError> {
        let jws = Jws::parse_assertion(assertion.text.expose_secret()).map_err(|_| refused("it is malformed"))?;
        let candidates = match client {
            Some(client) => self.candidates(client, &jws, now).await,
            None => None,
        };
        let verifies = match &candidates {
            Some(candidates) => candidates.verify(&jws),
            None => self.dummies.key(jws.algorithm).is_some_and(|key| verifies(key, &jws)),
        };
        let candidates = candidates.ok_or(refused("no live key of the client matches"))?;
        if !verifies {
            return Err(refused("the signature is not valid"));
        }
        check_type(jws.token_type.as_deref(), self.type_required)?;
        let accepts_endpoint = client.is_some_and(|client| client.accept_token_endpoint_audience);
        let addressee = self.addressee(jws.claims.get("aud"), accepts_endpoint);
        let addressee = addressee.ok_or(refused("aud is not the issuer identifier alone"))?;
        let expires = check_claims(&jws.claims, assertion.claimed_id(), now)?;
        let token_id = text(&jws.claims, "jti").ok_or(refused("it has no jti"))?;
        // The last check: only an otherwise valid assertion is used up.
        self.replays.use_once(assertion.claimed_id(), token_id, expires + LEEWAY, now).await?;
        Ok(Accepted { credential_id: candidates.credential_id(), addressee })
    }

    /// Uses up an assertion that another issuer has signed for `client_id`. The assertion is named by its
    /// issuer and its `jti`, so that it is used up for every client.
    ///
    /// # Errors
    ///
    /// As for an assertion of the client itself that was used before, or cannot be remembered.
    pub(super) async fn use_foreign(
        &self,
        client_id: &str,
        assertion: (&str, &str),
        forget: SystemTime,
        now: SystemTime,
    ) -> Result<(), IssueError> {
        self.replays.use_foreign(client_id, assertion, forget, now).await
    }

    /// Returns the audience of the assertion, if it is an accepted one. RFC 10070; with `accepts_endpoint`
    /// also RFC 7523 section 3 item 3, for older libraries.
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

    /// Returns the keys that can have signed the assertion: the one registered key that matches, or keys at
    /// the client's `jwks_uri`.
    async fn candidates<'a>(&self, client: &'a Client, jws: &Jws<'_>, now: SystemTime) -> Option<Candidates<'a>> {
        if let Some(registered) = registered(client, jws, now) {
            return Some(registered);
        }
        let uri = client.jwks_uri.as_deref().filter(|_| !client.disabled)?;
        self.remote.find(uri, jws).await.map(Candidates::Fetched)
    }
}

/// An assertion that was accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    /// The ID of the credential with the signing key, if the key is registered.
    pub(super) credential_id: Option<String>,
    /// The audience of the assertion.
    pub(super) addressee: Addressee,
}

/// The audience of an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addressee {
    Issuer,
    TokenEndpoint,
}

/// Checks the claims and returns `exp`.
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
        return Err(refused("its lifetime is too long"));
    }
    for start in ["iat", "nbf"] {
        if time(claims, start, true)?.is_some_and(|start| start > now + leeway) {
            return Err(refused("its iat or nbf is in the future"));
        }
    }
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(expires))
}

/// The keys that can have signed an assertion.
enum Candidates<'a> {
    Registered(&'a str, &'a VerifyingKey),
    Fetched(Vec<Arc<VerifyingKey>>),
}

impl Candidates<'_> {
    fn verify(&self, jws: &Jws<'_>) -> bool {
        match self {
            Self::Registered(_, key) => verifies(key, jws),
            Self::Fetched(keys) => keys.iter().any(|key| verifies(key, jws)),
        }
    }

    fn credential_id(&self) -> Option<String> {
        match self {
            Self::Registered(id, _) => Some((*id).to_owned()),
            Self::Fetched(_) => None,
        }
    }
}

/// Returns the one live key among the client's credentials. If several match, the result is `None`: trying
/// each would take longer for clients that exist.
fn registered<'a>(client: &'a Client, jws: &Jws<'_>, now: SystemTime) -> Option<Candidates<'a>> {
    let live = client.credentials.iter().filter(|credential| credential.is_live(now));
    let mut fitting = live.filter_map(|credential| {
        let CredentialKind::PublicKey(jwk) = &credential.kind else { return None };
        fits(jwk.key(), jws.key_id.as_deref(), jws.algorithm)
            .then_some(Candidates::Registered(&credential.id, jwk.key()))
    });
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Some(only),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

fn verifies(key: &VerifyingKey, jws: &Jws<'_>) -> bool {
    takes(Step::SignatureCheck);
    key.verifies(jws.signed, &jws.signature)
}

/// Compares `kid` if both have one, and the algorithm.
fn fits(key: &VerifyingKey, key_id: Option<&str>, algorithm: Algorithm) -> bool {
    let named = match (key_id, key.key_id()) {
        (Some(wanted), Some(key_id)) => wanted == key_id,
        (None, _) | (Some(_), None) => true,
    };
    named && key.algorithm() == algorithm
}

/// Checks the type. An access token, or another JWT that the client signs, is not an assertion: RFC 8725
/// section 3.11.
fn check_type(token_type: Option<&str>, required: bool) -> Result<(), IssueError> {
    match token_type {
        Some(named) if TYPES.iter().any(|known| known.eq_ignore_ascii_case(named)) => Ok(()),
        None if !required => Ok(()),
        Some(named) if !required && OLDER_TYPE.eq_ignore_ascii_case(named) => Ok(()),
        Some(_) | None => Err(refused("its typ is not accepted")),
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Reads a time. RFC 7519 section 2 allows a fraction, which is rounded to the stricter side.
fn time(claims: &Map<String, Value>, name: &str, round_up: bool) -> Result<Option<u64>, IssueError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_u64().or_else(|| numeric_date_of(value.as_f64()?, round_up));
    seconds.map(Some).ok_or(refused("a time is not a number of seconds"))
}

const fn refused(why: &'static str) -> IssueError {
    IssueError::ClientAuthenticationFailed(AuthenticationFailure::AssertionRefused(why))
}
