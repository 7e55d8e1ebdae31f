//! The issuer metadata, as one value. Both HTTP documents and the gRPC answer are built from it.
//!
//! RFC 8414 section 2; OpenID Connect Discovery section 3. It lists only endpoints that work, plus an
//! authorization endpoint that always answers with an error.

use std::time::Duration;

use serde::Serialize;
use token_interceptor::signature::Algorithm;

use crate::client::{AuthenticationMethod, GrantType};

/// The path of each endpoint, relative to the issuer identifier.
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
    /// RFC 7592 section 2: one resource per client ID.
    pub const REGISTERED: &str = "/oauth/register/{client_id}";
    /// RFC 7517 section 5.
    pub const JWKS: &str = "/jwks.json";
    /// RFC 8414 section 3.
    pub const OAUTH_METADATA: &str = "/.well-known/oauth-authorization-server";
    /// OpenID Connect Discovery section 4.
    pub const OPENID_CONFIGURATION: &str = "/.well-known/openid-configuration";
}

/// The grant types that the token endpoint supports.
const GRANT_TYPES: [&str; GrantType::ALL.len()] = {
    let [first, second] = GrantType::ALL;
    [first.name(), second.name()]
};
/// The supported methods of client authentication.
const CLIENT_AUTHENTICATION_METHODS: [&str; AuthenticationMethod::ALL.len()] = {
    let [first, second, third] = AuthenticationMethod::ALL;
    [first.name(), second.name(), third.name()]
};

/// The supported signature algorithms of client assertions.
const ASSERTION_ALGORITHMS: [&str; Algorithm::ALL.len()] = {
    let [a, b, c, d, e, f, g, h, i, j] = Algorithm::ALL;
    [a.name(), b.name(), c.name(), d.name(), e.name(), f.name(), g.name(), h.name(), i.name(), j.name()]
};

/// The issuer metadata.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// The issuer identifier.
    pub issuer: String,
    /// An endpoint that only returns errors. Many libraries reject metadata without one.
    pub authorization_endpoint: String,
    /// The token endpoint.
    pub token_endpoint: String,
    /// The introspection endpoint.
    pub introspection_endpoint: String,
    /// The revocation endpoint.
    pub revocation_endpoint: String,
    /// The UserInfo endpoint, for the bearer of a token.
    pub userinfo_endpoint: String,
    /// The client registration endpoint, if registration is enabled.
    pub registration_endpoint: Option<String>,
    /// The URL of the JWK Set.
    pub jwks_uri: String,
    /// The maximum lifetime of a token.
    pub lifetime_max: Duration,
    /// The algorithms that sign tokens now or soon.
    pub signing_algorithms: Vec<Algorithm>,
}

/// Returns the URL of the endpoint at `path` of the issuer.
#[must_use]
pub fn endpoint(issuer: &str, path: &str) -> String {
    format!("{}{path}", issuer.trim_end_matches('/'))
}

impl Metadata {
    /// Creates the metadata of `issuer`, without registration.
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

    /// Adds the client registration endpoint.
    #[must_use]
    pub fn with_registration(self) -> Self {
        let registration = endpoint(&self.issuer, path::REGISTRATION);
        Self { registration_endpoint: Some(registration), ..self }
    }

    /// The supported grants, by their OAuth names.
    #[must_use]
    pub fn grant_types(&self) -> &'static [&'static str] {
        &GRANT_TYPES
    }

    /// The supported methods of client authentication, by their OAuth names.
    #[must_use]
    pub fn client_authentication_methods(&self) -> &'static [&'static str] {
        &CLIENT_AUTHENTICATION_METHODS
    }

    /// Returns the document of RFC 8414.
    #[must_use]
    pub fn oauth(&self) -> OAuthDocument<'_> {
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

    /// Returns the document of OpenID Connect Discovery.
    #[must_use]
    pub fn openid(&self) -> OpenIdDocument<'_> {
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
pub struct OAuthDocument<'a> {
    issuer: &'a str,
    /// Required only for grants that use it (RFC 8414 section 2). But the MCP SDKs, MSAL and `openidconnect`
    /// fail without it.
    authorization_endpoint: &'a str,
    token_endpoint: &'a str,
    introspection_endpoint: &'a str,
    revocation_endpoint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_endpoint: Option<&'a str>,
    jwks_uri: &'a str,
    /// A required member. Empty, because the authorization endpoint supports no response type.
    response_types_supported: [&'static str; 0],
    grant_types_supported: &'a [&'static str],
    token_endpoint_auth_methods_supported: &'a [&'static str],
    token_endpoint_auth_signing_alg_values_supported: [&'static str; Algorithm::ALL.len()],
    introspection_endpoint_auth_methods_supported: &'a [&'static str],
    introspection_endpoint_auth_signing_alg_values_supported: [&'static str; Algorithm::ALL.len()],
    revocation_endpoint_auth_methods_supported: &'a [&'static str],
    revocation_endpoint_auth_signing_alg_values_supported: [&'static str; Algorithm::ALL.len()],
}

/// OpenID Connect Discovery section 3. The issuer issues no ID tokens, but the member for their algorithms is
/// required. It tells its readers the algorithms of the keys.
#[derive(Serialize)]
pub struct OpenIdDocument<'a> {
    #[serde(flatten)]
    oauth: OAuthDocument<'a>,
    userinfo_endpoint: &'a str,
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: Vec<&'static str>,
}
