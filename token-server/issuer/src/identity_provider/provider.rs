//! One identity provider: the trust in it, and the grants of its subjects.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use token_interceptor::{
    error::VerifyError,
    http_client::HttpClient,
    key_set::KeySet,
    signature::Algorithm,
    token::VerifiedToken,
    verify::{BuildError, TokenProfile, TrustedIssuer, spiffe::trust_domain},
};

use super::{
    platform::Platform,
    quoted,
    rules::{Namespace, RequiredClaim, SubjectRule},
};
use crate::{
    client::{Audience, ClientId, Scope},
    error::IssueError,
    security_token::TokenType,
};

/// The trust in one identity provider.
#[derive(Clone, Debug)]
pub struct IdentityProvider {
    /// Its issuer identifier, compared byte for byte.
    pub issuer: String,
    /// The platform, if its rules apply too.
    pub platform: Option<Platform>,
    /// The audience that its tokens must name: this issuer, as the provider knows it.
    pub audience: String,
    /// The `typ` of its tokens.
    pub types: Vec<String>,
    /// Accepts tokens without `typ`.
    pub untyped: bool,
    /// The longest token that is read, in bytes.
    pub token_bytes: usize,
    /// The algorithms that its tokens may be signed with. Of a trust domain's, those that SPIFFE forbids do
    /// not count.
    pub algorithms: Vec<Algorithm>,
    /// The source of its keys.
    pub keys: ProviderKeys,
    /// Claims that its tokens must have.
    pub required_claims: Vec<RequiredClaim>,
    /// The rules for its tokens in a token exchange. With `None`, none of them may be exchanged.
    pub exchange: Option<Arc<ExchangeRules>>,
    /// The rules for its tokens as client assertions. With `None`, no client authenticates with them.
    pub client_authentication: Option<ClientAuthenticationRules>,
}

/// The rules for client authentication with one provider's tokens. RFC 7523 section 2.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthenticationRules {
    /// The longest time since a token's `iat`.
    pub max_age: Duration,
    /// Allows tokens of this issuer that expire after the assertion.
    pub tokens_may_outlive: bool,
}

/// The rules for the exchange of one provider's tokens.
#[derive(Clone, Debug)]
pub struct ExchangeRules {
    /// The clients that may exchange its tokens.
    pub clients: BTreeSet<ClientId>,
    /// The subjects whose tokens may be exchanged.
    pub subjects: SubjectRule,
    /// The namespace of its subjects here.
    pub namespace: Namespace,
    /// Claims that are copied into the new token.
    pub copied_claims: BTreeSet<String>,
    /// The upper bound on the grants of its subjects. With `None`, an exchange of the provider's own token is
    /// bounded by the exchanging client's grants. Later exchanges are bounded by the audiences of the
    /// exchanged token.
    pub grants: Option<BTreeMap<Audience, BTreeSet<Scope>>>,
}

/// The source of a provider's keys.
///
/// Exhaustive: the verifier must handle a new source before it compiles.
#[derive(Clone)]
pub enum ProviderKeys {
    /// Its metadata: OpenID Connect Discovery, or RFC 8414.
    Discovery(HttpClient),
    /// A JWK Set at this URL.
    Jwks(String, HttpClient),
    /// A JWK Set that does not change.
    Fixed(KeySet),
}

impl IdentityProvider {
    /// Returns the provider in the verifier's form.
    pub(super) fn trusted(&self) -> Result<TrustedIssuer, BuildError> {
        let trusted = match &self.keys {
            ProviderKeys::Discovery(http) => TrustedIssuer::discover(&self.issuer)?.http_client(http.clone()),
            ProviderKeys::Jwks(url, http) => TrustedIssuer::jwks(&self.issuer, url)?.http_client(http.clone()),
            ProviderKeys::Fixed(keys) => TrustedIssuer::fixed(&self.issuer, keys.clone())?,
        };
        let profile = match self.is_spiffe() {
            true => TokenProfile::spiffe(),
            false if self.untyped => TokenProfile::identity(self.types.clone()).untyped(),
            false => TokenProfile::identity(self.types.clone()),
        };
        // The settings shorten the profile's list. They never add what a specification forbids.
        let mut algorithms = self.algorithms.clone();
        algorithms.retain(|algorithm| profile.algorithms().contains(algorithm));
        let trusted = trusted.profile(profile).token_bytes_max(self.token_bytes);
        Ok(trusted.audiences([self.audience.clone()]).algorithms(&algorithms))
    }

    /// Returns true for a SPIFFE trust domain, whose keys are a bundle and whose tokens are JWT-SVIDs.
    pub(super) fn is_spiffe(&self) -> bool {
        trust_domain(&self.issuer).is_some()
    }

    /// Describes a failed check for the audit log.
    pub(super) fn described(&self, error: &VerifyError) -> String {
        let label = error.label();
        let detail = format!("{label}: {error}");
        match &self.keys {
            // A rotated key reaches no file by itself.
            ProviderKeys::Fixed(_) if label == "key_unknown" => {
                format!("{detail}; the keys come from jwks_file, which a person must replace")
            }
            ProviderKeys::Fixed(_) | ProviderKeys::Discovery(_) | ProviderKeys::Jwks(..) => detail,
        }
    }

    /// Checks the claims that every token of the provider must have, and those by which its platform calls a
    /// token unsafe.
    ///
    /// # Errors
    ///
    /// The claim that is missing or different, for the audit log.
    pub(super) fn check_required_claims(&self, token: &VerifiedToken) -> Result<(), String> {
        let unmet = self.required_claims.iter().find(|claim| !claim.is_met(token.claims()));
        if let Some(RequiredClaim { name, any_of }) = unmet {
            let came = token.claims().get(name).map_or_else(|| "nothing".to_owned(), quoted);
            let expected = quoted(&Value::Array(any_of.clone()));
            return Err(format!("required_claims: {name}: {came}, expected one of {expected}"));
        }
        let refusal = self.platform.and_then(|platform| platform.refusal(token.claims()));
        refusal.map_or(Ok(()), |why| Err(format!("platform: {why}")))
    }

    /// Checks `azp`. OpenID Connect Core section 3.1.3.7: an ID token for several audiences names the client
    /// that it was issued to. A token that names another client is rejected as every token type, because the
    /// client chooses the type.
    pub(super) fn check_authorized_party(&self, token: &VerifiedToken, kind: TokenType) -> Result<(), IssueError> {
        if token.audiences().count() < 2 {
            return Ok(());
        }
        let ours = match token.claims().get("azp") {
            Some(party) => party.as_str() == Some(self.audience.as_str()),
            // A JWT that is not an ID token needs no `azp`.
            None => kind != TokenType::IdToken,
        };
        if ours {
            return Ok(());
        }
        let came = token.claims().get("azp").map_or_else(|| "nothing".to_owned(), quoted);
        let detail = format!("authorized_party: azp: {came}, expected {:?}", self.audience);
        Err(IssueError::invalid_grant_because("The token was issued to another party.", detail))
    }
}

impl ExchangeRules {
    /// Checks that the subject's tokens may be exchanged.
    pub(super) fn check_subject(&self, token: &VerifiedToken) -> Result<(), IssueError> {
        if self.subjects.allows(token.subject()) {
            return Ok(());
        }
        let detail = format!("subjects: sub: {}, expected one that the rule allows", quoted(&token.subject().into()));
        Err(IssueError::invalid_grant_because("Tokens of that subject may not be exchanged.", detail))
    }

    /// Returns true if its subjects may have the scope at the audience, or `None` if no grants are
    /// configured.
    pub fn grants(&self, audience: &str, scope: &Scope) -> Option<bool> {
        let grants = self.grants.as_ref()?;
        Some(grants.get(audience).is_some_and(|scopes| scopes.contains(scope)))
    }
}

impl fmt::Debug for ProviderKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discovery(_) => f.write_str("Discovery"),
            Self::Jwks(url, _) => f.debug_tuple("Jwks").field(url).finish(),
            Self::Fixed(_) => f.write_str("Fixed"),
        }
    }
}
