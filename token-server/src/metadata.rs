//! What this issuer offers, as one value: both documents over HTTP and the answer over gRPC are written from it.
//!
//! RFC 8414 section 2; OpenID Connect Discovery section 3. It lists what works, and an authorization endpoint that only
//! says that it does not.

use std::time::Duration;

use serde::Serialize;
use token_interceptor::signature::Algorithm;

use crate::client::{AuthenticationMethod, GrantType};

/// Where each endpoint is, below the issuer identifier.
pub mod path {
    /// RFC 6749 section 3.1.
    pub const AUTHORIZATION: &str = "/oauth/authorize";
    /// RFC 6749 section 3.2.
    pub const TOKEN: &str = "/oauth/token";
    /// RFC 7662 section 2.
    pub const INTROSPECTION: &str = "/oauth/introspect";
    /// RFC 7009 section 2.
    pub const REVOCATION: &str = "/oauth/revoke";
    /// OpenID Connect Core section 5.3.
    pub const USER_INFO: &str = "/userinfo";
    /// RFC 7591 section 3.
    pub const REGISTRATION: &str = "/oauth/register";
    /// RFC 7592 section 2: below it, by client ID.
    pub const REGISTERED: &str = "/oauth/register/{client_id}";
    /// RFC 7517 section 5.
    pub const JWKS: &str = "/jwks.json";
    /// RFC 8414 section 3.
    pub const OAUTH_METADATA: &str = "/.well-known/oauth-authorization-server";
    /// OpenID Connect Discovery section 4.
    pub const OPENID_CONFIGURATION: &str = "/.well-known/openid-configuration";
}

/// Grants that the token endpoint takes.
const GRANT_TYPES: [&str; GrantType::ALL.len()] = {
    let [first, second] = GrantType::ALL;
    [first.name(), second.name()]
};
/// How clients may authenticate.
const CLIENT_AUTHENTICATION_METHODS: [&str; AuthenticationMethod::ALL.len()] = {
    let [first, second, third] = AuthenticationMethod::ALL;
    [first.name(), second.name(), third.name()]
};

/// What client assertions may be signed with.
const ASSERTION_ALGORITHMS: [&str; Algorithm::ALL.len()] = {
    let [first, second, third, fourth, fifth] = Algorithm::ALL;
    [first.name(), second.name(), third.name(), fourth.name(), fifth.name()]
};

/// What the issuer offers.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// The issuer identifier.
    pub issuer: String,
    /// An endpoint that answers with an error only: many libraries read no metadata without one.
    pub authorization_endpoint: String,
    /// Where tokens are had.
    pub token_endpoint: String,
    /// Where tokens are introspected.
    pub introspection_endpoint: String,
    /// Where tokens are revoked.
    pub revocation_endpoint: String,
    /// Where the bearer of a token learns about its subject.
    pub userinfo_endpoint: String,
    /// Where clients register themselves, where they may.
    pub registration_endpoint: Option<String>,
    /// Where the keys are.
    pub jwks_uri: String,
    /// No token lives longer.
    pub lifetime_max: Duration,
    /// Algorithms that tokens are signed with now or soon.
    pub signing_algorithms: Vec<Algorithm>,
}

/// The URL of an endpoint at `path` of the issuer.
#[must_use]
pub fn endpoint(issuer: &str, path: &str) -> String {
    format!("{}{path}", issuer.trim_end_matches('/'))
}

impl Metadata {
    /// Describes the issuer of that identifier.
    #[must_use]
    pub fn new(issuer: &str, lifetime_max: Duration, signing_algorithms: Vec<Algorithm>) -> Self {
        let at = |path: &str| endpoint(issuer, path);
        Self {
            issuer: issuer.to_owned(),
            authorization_endpoint: at(path::AUTHORIZATION),
            token_endpoint: at(path::TOKEN),
            introspection_endpoint: at(path::INTROSPECTION),
            revocation_endpoint: at(path::REVOCATION),
            userinfo_endpoint: at(path::USER_INFO),
            registration_endpoint: None,
            jwks_uri: at(path::JWKS),
            lifetime_max,
            signing_algorithms,
        }
    }

    /// The same, where clients may register themselves.
    #[must_use]
    pub fn with_registration(self) -> Self {
        let registration = endpoint(&self.issuer, path::REGISTRATION);
        Self { registration_endpoint: Some(registration), ..self }
    }

    /// Grants that are offered, by their OAuth names.
    #[must_use]
    pub fn grant_types(&self) -> &'static [&'static str] {
        &GRANT_TYPES
    }

    /// Methods of client authentication that are offered, by their OAuth names.
    #[must_use]
    pub fn client_authentication_methods(&self) -> &'static [&'static str] {
        &CLIENT_AUTHENTICATION_METHODS
    }

    /// The document of RFC 8414.
    #[must_use]
    pub(crate) fn oauth(&self) -> OAuthDocument<'_> {
        OAuthDocument {
            issuer: &self.issuer,
            authorization_endpoint: &self.authorization_endpoint,
            token_endpoint: &self.token_endpoint,
            introspection_endpoint: &self.introspection_endpoint,
            revocation_endpoint: &self.revocation_endpoint,
            registration_endpoint: self.registration_endpoint.as_deref(),
            jwks_uri: &self.jwks_uri,
            response_types_supported: [],
            grant_types_supported: self.grant_types(),
            token_endpoint_auth_methods_supported: self.client_authentication_methods(),
            token_endpoint_auth_signing_alg_values_supported: ASSERTION_ALGORITHMS,
            introspection_endpoint_auth_methods_supported: self.client_authentication_methods(),
            introspection_endpoint_auth_signing_alg_values_supported: ASSERTION_ALGORITHMS,
            revocation_endpoint_auth_methods_supported: self.client_authentication_methods(),
            revocation_endpoint_auth_signing_alg_values_supported: ASSERTION_ALGORITHMS,
        }
    }

    /// The document of OpenID Connect Discovery.
    #[must_use]
    pub(crate) fn openid(&self) -> OpenIdDocument<'_> {
        OpenIdDocument {
            oauth: self.oauth(),
            userinfo_endpoint: &self.userinfo_endpoint,
            subject_types_supported: ["public"],
            id_token_signing_alg_values_supported: self.signing_algorithms.iter().map(|alg| alg.name()).collect(),
        }
    }
}

/// RFC 8414 section 2.
#[derive(Serialize)]
pub(crate) struct OAuthDocument<'a> {
    issuer: &'a str,
    /// Required only with a grant that uses it (RFC 8414 section 2), but the MCP SDKs, MSAL and `openidconnect` fail
    /// without it.
    authorization_endpoint: &'a str,
    token_endpoint: &'a str,
    introspection_endpoint: &'a str,
    revocation_endpoint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_endpoint: Option<&'a str>,
    jwks_uri: &'a str,
    /// Empty and still there: it is required, and the authorization endpoint supports none.
    response_types_supported: [&'static str; 0],
    grant_types_supported: &'a [&'static str],
    token_endpoint_auth_methods_supported: &'a [&'static str],
    token_endpoint_auth_signing_alg_values_supported: [&'static str; Algorithm::ALL.len()],
    introspection_endpoint_auth_methods_supported: &'a [&'static str],
    introspection_endpoint_auth_signing_alg_values_supported: [&'static str; Algorithm::ALL.len()],
    revocation_endpoint_auth_methods_supported: &'a [&'static str],
    revocation_endpoint_auth_signing_alg_values_supported: [&'static str; Algorithm::ALL.len()],
}

/// OpenID Connect Discovery section 3. No ID token is issued; the member is required, and those who read it want
/// to know what the keys are for.
#[derive(Serialize)]
pub(crate) struct OpenIdDocument<'a> {
    #[serde(flatten)]
    oauth: OAuthDocument<'a>,
    userinfo_endpoint: &'a str,
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: Vec<&'static str>,
}
