//! A JWK Set over HTTP: RFC 7517; found by OpenID Connect Discovery 1.0 section 4 or RFC 8414 section 3.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use url::Url;

use super::{FetchError, FetchKeys, usable};
use crate::{
    http_client::{HttpClient, HttpError, HttpResponse},
    json,
    key_set::{Format, KeySet},
};

const OPENID: &str = "the issuer's OpenID configuration";
const OAUTH: &str = "the issuer's OAuth server metadata";
const KEYS: &str = "the issuer's key set";

/// A JWK Set, or a SPIFFE bundle, at a known URL.
#[derive(Debug)]
pub(crate) struct FromJwks {
    pub(crate) http: HttpClient,
    pub(crate) url: Url,
    pub(crate) format: Format,
}

/// A JWK Set at the URL in the issuer's metadata. The metadata are read each time, as the URL may change.
#[derive(Debug)]
pub(crate) struct FromDiscovery {
    pub(crate) http: HttpClient,
    pub(crate) issuer: Arc<str>,
    pub(crate) documents: Documents,
}

/// The URLs of an issuer's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Documents {
    pub(crate) openid: Url,
    pub(crate) oauth: Url,
}

/// The two members that are used, of the many in both documents.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl Documents {
    /// `issuer` has neither query nor fragment. OpenID Connect appends to its path. RFC 8414 section 3.1 puts
    /// the well-known part between host and path.
    pub(crate) fn of(issuer: &Url) -> Self {
        let path = issuer.path().trim_end_matches('/');
        let (mut openid, mut oauth) = (issuer.clone(), issuer.clone());
        openid.set_path(&format!("{path}/.well-known/openid-configuration"));
        oauth.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
        Self { openid, oauth }
    }
}

#[async_trait]
impl FetchKeys for FromJwks {
    async fn fetch(&self) -> Result<KeySet, FetchError> {
        key_set(&self.http, &self.url, self.format).await
    }
}

#[async_trait]
impl FetchKeys for FromDiscovery {
    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let url = match self.keys_url(OPENID, &self.documents.openid).await {
            Ok(url) => url,
            // One of the two documents is enough. If both fail, the first error says more.
            Err(error) => self.keys_url(OAUTH, &self.documents.oauth).await.map_err(|_| error)?,
        };
        key_set(&self.http, &url, Format::JwkSet).await
    }
}

impl FromDiscovery {
    async fn keys_url(&self, what: &'static str, document: &Url) -> Result<Url, FetchError> {
        let body = body(what, self.http.get(document).await)?;
        let metadata: Metadata = json::from_object(&body).map_err(|source| FetchError::Malformed { what, source })?;
        if *metadata.issuer != *self.issuer {
            return Err(FetchError::OtherIssuer { what });
        }
        let url = Url::parse(&metadata.jwks_uri).map_err(|_| FetchError::UnusableKeysUrl { what })?;
        let downgrade = document.scheme() == "https" && url.scheme() != "https";
        if downgrade || self.http.check(&url).is_err() {
            return Err(FetchError::UnusableKeysUrl { what });
        }
        Ok(url)
    }
}

async fn key_set(http: &HttpClient, url: &Url, format: Format) -> Result<KeySet, FetchError> {
    usable(format.read(&body(KEYS, http.get_key_set(url, ::http::HeaderMap::new()).await)?)?)
}

/// A redirect is not followed, and is an error.
fn body(what: &'static str, answer: Result<HttpResponse, HttpError>) -> Result<bytes::Bytes, FetchError> {
    let answer = answer.map_err(|source| FetchError::Http { what, source })?;
    if answer.status != ::http::StatusCode::OK {
        return Err(FetchError::Status { what, status: answer.status });
    }
    Ok(answer.body)
}

#[cfg(test)]
mod tests {
    use super::Documents;

    fn documents(issuer: &str) -> (String, String) {
        let documents = Documents::of(&issuer.parse().unwrap());
        (documents.openid.into(), documents.oauth.into())
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
