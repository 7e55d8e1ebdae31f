//! A JWK Set over HTTP: RFC 7517; found by OpenID Connect Discovery 1.0 section 4 or RFC 8414 section 3.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use super::{FetchError, FetchKeys, usable};
use crate::{
    http_client::{Documents, HttpClient, HttpError, HttpResponse},
    http_url::HttpUrl,
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
    pub(crate) url: HttpUrl,
    pub(crate) format: Format,
}

/// A JWK Set at the URL in the issuer's metadata. The metadata are read each time, as the URL may change.
#[derive(Debug)]
pub(crate) struct FromDiscovery {
    pub(crate) http: HttpClient,
    pub(crate) issuer: Arc<str>,
    pub(crate) documents: Documents,
}

/// The two members that are used, of the many in both documents.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
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
    async fn keys_url(&self, what: &'static str, document: &HttpUrl) -> Result<HttpUrl, FetchError> {
        let body = body(what, self.http.get(document).await)?;
        let metadata: Metadata = json::from_object(&body).map_err(|source| FetchError::Malformed { what, source })?;
        if *metadata.issuer != *self.issuer {
            return Err(FetchError::OtherIssuer { what });
        }
        let url = HttpUrl::parse(&metadata.jwks_uri).map_err(|_| FetchError::UnusableKeysUrl { what })?;
        let downgrade = document.is_https() && !url.is_https();
        if downgrade || self.http.check(&url).is_err() {
            return Err(FetchError::UnusableKeysUrl { what });
        }
        Ok(url)
    }
}

async fn key_set(http: &HttpClient, url: &HttpUrl, format: Format) -> Result<KeySet, FetchError> {
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
