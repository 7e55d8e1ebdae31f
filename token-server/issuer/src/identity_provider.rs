//! Other issuers that this one trusts: identity providers whose tokens may be exchanged for tokens of this
//! issuer, and platforms whose tokens authenticate clients.
//!
//! Both uses have one configuration and one verifier. Each is a door of its own, which is closed by default.
//!
//! RFC 8693 section 2.1 leaves it to the server which tokens it accepts. Here a token must pass every check:
//! issuer, key, algorithm and type (by the project's only verifier), the provider's audience, the rule for
//! its subjects, the required claims, and the client that presents it. Everything else is rejected.
//!
//! `aud` must name this issuer. If it names others too, `azp` must be this issuer (OpenID Connect Core
//! section 3.1.3.7). In a token for this issuer alone, `azp` is not checked: providers put the requesting
//! application there, such as a mobile app that gets tokens for its backend. `client_id` (RFC 9068 section
//! 2.2) is not checked either. Access tokens of others are rejected. One that an operator accepts as a JWT by
//! its `typ` is bound by `aud`, as in RFC 9068 section 4. If the application matters, the operator makes
//! `azp` or `client_id` a required claim.
//!
//! A subject of one provider is never a subject of another, nor a client of ours. Its name here begins with
//! the provider's own [`Namespace`], and `sub_id` (RFC 9493 section 3.2.2) names its origin.

mod platform;
mod provider;
mod rules;

use std::{collections::BTreeMap, iter, sync::Arc, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use token_interceptor::{
    error::VerifyError,
    json,
    token::{UnverifiedToken, VerifiedToken},
    verify::{BuildError, Verifier},
};

pub use platform::Platform;
pub use provider::{ClientAuthenticationRules, ExchangeRules, IdentityProvider, ProviderKeys};
pub use rules::{Namespace, RequiredClaim, SubjectRule};

use crate::{
    client::{ClientId, secret},
    error::{AuthenticationFailure, IssueError},
    security_token::{SecurityToken, TokenType},
};

/// The trusted identity providers. Clones share their keys.
#[derive(Clone, Debug, Default)]
pub struct IdentityProviders {
    providers: BTreeMap<String, Arc<IdentityProvider>>,
    /// `None` if no provider is trusted.
    verifier: Option<Verifier>,
}

/// The identity of a subject at an identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectId {
    /// The provider's issuer identifier.
    pub issuer: String,
    /// The provider's `sub`.
    pub subject: String,
}

/// A token of an identity provider that passed every check.
#[derive(Debug)]
pub(crate) struct ForeignToken {
    pub(crate) token: VerifiedToken,
    pub(crate) id: SubjectId,
    pub(crate) rules: Arc<ExchangeRules>,
}

impl IdentityProviders {
    /// Trusts these providers. Starts to fetch their keys, so it must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// When one is named twice, or the URL of its keys is not allowed.
    pub fn new(providers: Vec<IdentityProvider>) -> Result<Self, BuildError> {
        if providers.is_empty() {
            return Ok(Self::default());
        }
        let mut builder = Verifier::builder();
        for provider in &providers {
            builder = builder.issuer(provider.trusted()?);
        }
        let by_issuer = |provider: IdentityProvider| (provider.issuer.clone(), Arc::new(provider));
        Ok(Self { verifier: Some(builder.build()?), providers: providers.into_iter().map(by_issuer).collect() })
    }

    /// Returns the rules for the exchange of that issuer's tokens, if they may be exchanged at all.
    #[must_use]
    pub fn exchange(&self, issuer: &str) -> Option<&Arc<ExchangeRules>> {
        self.providers.get(issuer)?.exchange.as_ref()
    }

    fn exchanges(&self) -> impl Iterator<Item = &Arc<ExchangeRules>> {
        self.providers.values().filter_map(|provider| provider.exchange.as_ref())
    }

    /// Returns true if a provider's subject may have the name here. No client has such a name.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        self.exchanges().any(|rules| rules.namespace.covers(name))
    }

    /// Returns the providers.
    pub fn providers(&self) -> impl Iterator<Item = &IdentityProvider> {
        self.providers.values().map(Arc::as_ref)
    }

    /// Checks a token that `client` presents.
    ///
    /// # Errors
    ///
    /// [`IssueError::InvalidGrant`] when any check fails. [`IssueError::Unavailable`] when the provider's
    /// keys are unreachable, because the token may be valid.
    pub(crate) async fn verify(
        &self,
        client: &ClientId,
        token: &SecurityToken,
        now: SystemTime,
    ) -> Result<ForeignToken, IssueError> {
        let text = token.value.expose_secret();
        let issuer = named_issuer(text).unwrap_or_default();
        // Checked before any fetch. An unknown provider and another client's provider get the same answer.
        let provider = self.providers.get(&issuer);
        let rules = provider.and_then(|provider| provider.exchange.as_ref());
        let (Some(provider), Some(rules), Some(verifier)) = (provider, rules, &self.verifier) else {
            return Err(not_trusted(format!("issuer: iss: {}, expected a trusted issuer", quoted(&issuer.into()))));
        };
        if !rules.clients.contains(client) {
            let detail = format!("clients: {client}, expected one that is named for the issuer {:?}", provider.issuer);
            return Err(not_trusted(detail));
        }
        if token.kind == TokenType::AccessToken {
            return Err(IssueError::invalid_grant("An access token must come from this issuer."));
        }
        let verified = verifier.verify_with_fetch(UnverifiedToken::new(text), &provider.audience, now).await;
        let verified = verified.map_err(refused)?;
        // The verifier's leeway covers clock skew. A token minted from this one must not start out expired.
        if now >= verified.expires_at() {
            return Err(IssueError::invalid_grant(EXPIRED));
        }
        provider.check_authorized_party(&verified, token.kind)?;
        rules.check_subject(&verified)?;
        provider.check_required_claims(&verified).map_err(|detail| {
            IssueError::invalid_grant_because("The token does not have the required claims.", detail)
        })?;
        let id = SubjectId { issuer: provider.issuer.clone(), subject: verified.subject().to_owned() };
        Ok(ForeignToken { token: verified, id, rules: Arc::clone(rules) })
    }
}

/// A trusted issuer whose tokens are accepted as client assertions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AssertionIssuer<'p> {
    provider: &'p IdentityProvider,
    pub(crate) rules: &'p ClientAuthenticationRules,
}

impl AssertionIssuer<'_> {
    /// The platform that the operator has named, with its own rules.
    pub(crate) fn platform(&self) -> Option<Platform> {
        self.provider.platform
    }

    /// Returns true for a SPIFFE trust domain.
    pub(crate) fn is_spiffe(&self) -> bool {
        self.provider.is_spiffe()
    }
}

/// Client authentication. RFC 7523 section 3.
impl IdentityProviders {
    /// Returns the trusted issuer with exactly that identifier, if its tokens are accepted as assertions.
    pub(crate) fn assertion_issuer(&self, issuer: &str) -> Option<AssertionIssuer<'_>> {
        let provider = self.providers.get(issuer)?;
        Some(AssertionIssuer { provider, rules: provider.client_authentication.as_ref()? })
    }

    /// Says for the audit why no client can authenticate with an assertion of that issuer. `None` if no other
    /// issuer is configured at all.
    pub(crate) fn not_an_issuer(&self, issuer: &str) -> Option<String> {
        let open = self.providers().filter(|provider| provider.client_authentication.is_some());
        let known: Vec<&str> = open.map(|provider| provider.issuer.as_str()).take(ISSUERS_NAMED).collect();
        let came = quoted(&issuer.into());
        (!known.is_empty()).then(|| format!("iss: {came}, expected the client's ID, or exactly one of {known:?}"))
    }

    /// Checks an assertion: everything but the rules of the client.
    ///
    /// # Errors
    ///
    /// [`IssueError::ClientAuthenticationFailed`] when any check fails. [`IssueError::Unavailable`] when the
    /// issuer's keys are unreachable, because the assertion may be valid.
    pub(crate) async fn verify_assertion(
        &self,
        AssertionIssuer { provider, .. }: AssertionIssuer<'_>,
        assertion: &str,
        now: SystemTime,
    ) -> Result<VerifiedToken, IssueError> {
        let not_accepted = |detail: String| {
            let detail = format!("iss: {}: {detail}", quoted(&provider.issuer.as_str().into()));
            IssueError::ClientAuthenticationFailed(AuthenticationFailure::FederationRefused(detail.into_boxed_str()))
        };
        let Some(verifier) = &self.verifier else { return Err(not_accepted("no issuer is trusted".to_owned())) };
        let verified = verifier.verify_with_fetch(UnverifiedToken::new(assertion), &provider.audience, now).await;
        let verified = verified.map_err(|error| match error.is_transient() {
            true => IssueError::Unavailable(Box::new(error)),
            false => not_accepted(provider.described(&error)),
        })?;
        // The verifier's leeway covers clock skew. A token minted for this one must not start out expired.
        if now >= verified.expires_at() {
            return Err(not_accepted("expired".to_owned()));
        }
        // The verifier reads `iss` first, and the request may have named the issuer by its trust domain.
        if verified.issuer() != provider.issuer {
            return Err(not_accepted(format!("iss: {}, expected no other issuer", quoted(&verified.issuer().into()))));
        }
        // Another audience could present the assertion here.
        if verified.audiences().count() != 1 {
            let came = verified.claims().get("aud").map_or_else(String::new, quoted);
            return Err(not_accepted(format!("audience: aud: {came}, expected {:?} alone", provider.audience)));
        }
        provider.check_required_claims(&verified).map_err(not_accepted)?;
        Ok(verified)
    }
}

impl SubjectId {
    /// Returns the value of `sub_id`. RFC 9493 section 3.2.2.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::json!({ "format": "iss_sub", "iss": self.issuer, "sub": self.subject })
    }

    /// Reads the `sub_id` of a token of ours.
    pub fn of(token: &VerifiedToken) -> Option<Self> {
        let id = token.claims().get("sub_id")?;
        let text = |name: &str| Some(id.get(name)?.as_str()?.to_owned());
        Some(Self { issuer: text("iss")?, subject: text("sub")? })
    }
}

/// Returns the issuer that the token claims. It is unverified, and serves only to choose the verifier.
pub(crate) fn named_issuer(token: &str) -> Option<String> {
    claimed(token)?.get("iss")?.as_str().map(str::to_owned)
}

/// Returns the unverified claims of the token. The verifier checks the header, by the profile of the issuer.
pub(crate) fn claimed(token: &str) -> Option<Map<String, Value>> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    json::object(&claims).ok()
}

/// The most characters of a claim that a detail quotes.
const QUOTED_CHARS_MAX: usize = 96;

/// The most trusted issuers that a detail names.
const ISSUERS_NAMED: usize = 8;

/// Quotes a claim's value for the audit log, escaped and truncated. A secret that was sent in its place is
/// hidden.
pub(crate) fn quoted(value: &Value) -> String {
    let text = value.to_string();
    if text.contains(secret::PREFIX) {
        return "[redacted]".to_owned();
    }
    if text.chars().count() <= QUOTED_CHARS_MAX {
        return text;
    }
    text.chars().take(QUOTED_CHARS_MAX).chain(iter::once('…')).collect()
}

const EXPIRED: &str = "The identity provider's token has expired.";

fn not_trusted(detail: String) -> IssueError {
    IssueError::invalid_grant_because("The client may not exchange tokens of that issuer.", detail)
}

/// An outage of the provider is our failure and not the token's.
fn refused(error: VerifyError) -> IssueError {
    if error.is_transient() {
        return IssueError::Unavailable(Box::new(error));
    }
    let sentence = match error.label() {
        "expired" => EXPIRED,
        "audience" => "The identity provider's token is for another audience.",
        "key_unknown" => "The identity provider does not publish the token's key.",
        "too_large" => "The identity provider's token is longer than this server accepts.",
        _ => "The identity provider's token is invalid.",
    };
    IssueError::invalid_grant_because(sentence, format!("{}: {error}", error.label()))
}
