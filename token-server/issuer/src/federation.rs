//! Identity providers whose tokens may be exchanged for ours: OpenID Connect federation.
//!
//! RFC 8693 section 2.1 leaves to the server whose tokens it takes. Here a token counts only where everything
//! does at once: issuer, key, algorithm and type (by the project's only verifier), the provider's audience,
//! the rule for its subjects, the claims that it must make, and the client that brings it. What is not said
//! is not allowed.
//!
//! For whom a provider made the token: `aud` must name us, and where it names others too, `azp` must be us
//! (OpenID Connect Core section 3.1.3.7). `azp` of a token for us alone is not looked at: providers write
//! there which of their applications asked, as for a mobile app that gets tokens for its backend. Nor is
//! `client_id` (RFC 9068 section 2.2), the application that an access token was issued to: access tokens of
//! others are refused, and one that an operator takes as a JWT by its `typ` is bound by `aud` as RFC 9068
//! section 4 has it. Where the application matters, the operator says which: `azp` and `client_id` can be
//! required claims.
//!
//! A subject of one provider is never a subject of another, nor a client of ours: its name here begins with
//! the provider's own [`Namespace`], and `sub_id` (RFC 9493 section 3.2.2) says where it comes from.

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

pub use provider::{IdentityProvider, ProviderKeys};
pub use rules::{Namespace, RequiredClaim, SubjectRule};

use crate::{
    client::ClientId,
    error::IssueError,
    security_token::{SecurityToken, TokenType},
};

/// The identity providers that are trusted. Clones share their keys.
#[derive(Clone, Debug, Default)]
pub struct Federation {
    providers: BTreeMap<String, Arc<IdentityProvider>>,
    /// `None` if no provider is trusted.
    verifier: Option<Verifier>,
}

/// The identity of a subject at an identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectId {
    /// The provider's issuer identifier.
    pub issuer: String,
    /// `sub`, as the provider writes it.
    pub subject: String,
}

/// A token of an identity provider, with everything about it checked.
#[derive(Debug)]
pub(crate) struct ForeignToken {
    pub(crate) token: VerifiedToken,
    pub(crate) id: SubjectId,
    pub(crate) provider: Arc<IdentityProvider>,
}

impl Federation {
    /// Trusts these providers; their keys are fetched from now on, so this is for within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// When one is named twice, or its keys must not be fetched from where it says.
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

    /// The provider of that issuer identifier, where it is trusted.
    pub fn provider(&self, issuer: &str) -> Option<&Arc<IdentityProvider>> {
        self.providers.get(issuer)
    }

    /// Returns true if a provider's subject may have the name here. No client has such a name.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        self.providers.values().any(|provider| provider.namespace.covers(name))
    }

    /// The names that subjects of the providers have here.
    #[must_use]
    pub fn namespaces(&self) -> Vec<Namespace> {
        self.providers.values().map(|provider| provider.namespace.clone()).collect()
    }

    /// Checks a token that `client` brings.
    ///
    /// # Errors
    ///
    /// [`IssueError::InvalidGrant`] where any check fails; [`IssueError::Unavailable`] where the provider's
    /// keys are out of reach, as the token may be a good one.
    pub(crate) async fn verify(
        &self,
        client: &ClientId,
        token: &SecurityToken,
        now: SystemTime,
    ) -> Result<ForeignToken, IssueError> {
        let text = token.value.expose_secret();
        let issuer = named_issuer(text).unwrap_or_default();
        // Before anything is fetched. One answer for an unknown provider and for another client's.
        let (Some(provider), Some(verifier)) = (self.provider(&issuer).cloned(), &self.verifier) else {
            return Err(not_trusted(format!("issuer: iss: {}, expected a trusted issuer", quoted(&issuer.into()))));
        };
        if !provider.clients.contains(client) {
            let detail = format!("clients: {client}, expected one that is named for the issuer {:?}", provider.issuer);
            return Err(not_trusted(detail));
        }
        if token.kind == TokenType::AccessToken {
            return Err(IssueError::invalid_grant("An access token must be one of this issuer."));
        }
        let verified = verifier.verify_with_fetch(UnverifiedToken::new(text), &provider.audience, now).await;
        let verified = verified.map_err(refused)?;
        // Leeway is for clocks that disagree; a token that is made from this one must not begin expired.
        if now >= verified.expires_at() {
            return Err(IssueError::invalid_grant(EXPIRED));
        }
        provider.check_authorized_party(&verified, token.kind)?;
        provider.check_rules(&verified)?;
        let id = SubjectId { issuer: provider.issuer.clone(), subject: verified.subject().to_owned() };
        Ok(ForeignToken { token: verified, id, provider })
    }
}

impl SubjectId {
    /// As it stands in `sub_id`. RFC 9493 section 3.2.2.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::json!({ "format": "iss_sub", "iss": self.issuer, "sub": self.subject })
    }

    /// From the `sub_id` of a token of ours.
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

/// Characters of a claim that a detail quotes.
const QUOTED_CHARS_MAX: usize = 96;

/// A claim's value for the audit log: escaped and cut.
fn quoted(value: &Value) -> String {
    let text = value.to_string();
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
