//! The URLs of an issuer's metadata: OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3.

use crate::http_url::{HttpUrl, HttpUrlError};

/// The URLs of an issuer's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Documents {
    pub(crate) openid: HttpUrl,
    pub(crate) oauth: HttpUrl,
}

impl Documents {
    /// `issuer` has neither query nor fragment. OpenID Connect appends to its path. RFC 8414 section 3.1 puts
    /// the well-known part between host and path.
    pub(crate) fn of(issuer: &HttpUrl) -> Result<Self, HttpUrlError> {
        let path = issuer.path().trim_end_matches('/');
        Ok(Self {
            openid: issuer.with_path(&format!("{path}/.well-known/openid-configuration"))?,
            oauth: issuer.with_path(&format!("/.well-known/oauth-authorization-server{path}"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Documents;

    fn documents(issuer: &str) -> (String, String) {
        let documents = Documents::of(&issuer.parse().unwrap()).unwrap();
        (documents.openid.to_string(), documents.oauth.to_string())
    }

    #[test]
    fn metadata_of_an_issuer_without_path() {
        for issuer in ["https://issuer.example", "https://issuer.example/"] {
            let (openid, oauth) = documents(issuer);
            assert_eq!(openid, "https://issuer.example/.well-known/openid-configuration");
            assert_eq!(oauth, "https://issuer.example/.well-known/oauth-authorization-server");
        }
    }

    #[test]
    fn metadata_of_an_issuer_with_path() {
        let (openid, oauth) = documents("https://issuer.example:8443/tenant/one");
        assert_eq!(openid, "https://issuer.example:8443/tenant/one/.well-known/openid-configuration");
        assert_eq!(oauth, "https://issuer.example:8443/.well-known/oauth-authorization-server/tenant/one");
    }
}
