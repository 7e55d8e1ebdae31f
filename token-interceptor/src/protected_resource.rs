//! The metadata of a protected service: OAuth 2.0 Protected Resource Metadata, RFC 9728.
//!
//! A client that knows only the service's address learns the issuers and the scopes from it. Every refusal of
//! the [layer](crate::layer::AuthorizationLayer::resource) names the metadata's URL.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{http_url::HttpUrl, policy::Policy, verify::Verifier};

/// A service that demands tokens, by its resource identifier.
#[derive(Clone, Debug)]
pub struct ProtectedResource {
    resource: Arc<str>,
    metadata_url: HttpUrl,
}

/// The error of a resource identifier that is no `https` URL, has a fragment, or has no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a resource identifier is an https URL with a host and without a fragment (RFC 9728 section 1.2)")]
pub struct UnusableResource;

impl ProtectedResource {
    /// Describes the service at `resource`, the `https` URL that clients use.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not such a URL.
    pub fn new(resource: &str) -> Result<Self, UnusableResource> {
        let url = HttpUrl::parse(resource).ok().filter(HttpUrl::is_https).ok_or(UnusableResource)?;
        // RFC 9728 section 3.1: the well-known part goes between host and path.
        let path = format!("/.well-known/oauth-protected-resource{}", url.path().trim_end_matches('/'));
        let metadata_url = url.with_path(&path).map_err(|_| UnusableResource)?;
        Ok(Self { resource: resource.into(), metadata_url })
    }

    /// Returns the URL of the metadata. Serve [`ProtectedResource::metadata`] there, without a token.
    #[must_use]
    pub fn metadata_url(&self) -> &HttpUrl {
        &self.metadata_url
    }

    /// Returns the metadata as JSON: the issuers that `verifier` trusts, and the scopes of `policy`. RFC 9728
    /// section 2.
    #[must_use]
    pub fn metadata(&self, verifier: &Verifier, policy: &Policy) -> Value {
        json!({
            "resource": &*self.resource,
            "authorization_servers": verifier.issuers().iter().map(|issuer| &**issuer).collect::<Vec<_>>(),
            "scopes_supported": policy.scopes(),
            "bearer_methods_supported": ["header"],
        })
    }
}

#[cfg(test)]
mod tests {
    use token_proto::policy::{Access, MethodKind, MethodPolicy, Requirement};

    use super::*;
    use crate::test_util::TestIssuer;

    #[test]
    fn rfc_9728_section_3_1_metadata_stand_between_host_and_path() {
        for (resource, url) in [
            ("https://api.example", "https://api.example/.well-known/oauth-protected-resource"),
            ("https://api.example/", "https://api.example/.well-known/oauth-protected-resource"),
            ("https://api.example:8443/a/b", "https://api.example:8443/.well-known/oauth-protected-resource/a/b"),
            ("https://api.example/a?k=v", "https://api.example/.well-known/oauth-protected-resource/a?k=v"),
        ] {
            assert_eq!(ProtectedResource::new(resource).unwrap().metadata_url().to_string(), url);
        }
    }

    #[test]
    fn rfc_9728_section_1_2_resource_identifiers_are_https_without_fragment() {
        for resource in ["http://api.example", "https://api.example#x", "inventory", ""] {
            assert_eq!(ProtectedResource::new(resource).unwrap_err(), UnusableResource, "{resource}");
        }
    }

    #[test]
    fn rfc_9728_section_2_metadata_name_issuers_and_scopes() {
        let issuer = TestIssuer::new("https://issuer.example");
        let method = |path: &'static str, scope: &'static str| {
            MethodPolicy::new(
                path.into(),
                "inventory".into(),
                Access::Require(Requirement::any_token().with_all_scopes([scope])),
                MethodKind::Unary,
            )
        };
        let policy = Policy::new(&[method("/a.B/C", "write"), method("/a.B/D", "read"), method("/a.B/E", "read")]);
        let resource = ProtectedResource::new("https://api.example").unwrap();
        assert_eq!(
            resource.metadata(&issuer.verifier(), &policy.unwrap()),
            json!({
                "resource": "https://api.example",
                "authorization_servers": ["https://issuer.example"],
                "scopes_supported": ["read", "write"],
                "bearer_methods_supported": ["header"],
            })
        );
    }
}
