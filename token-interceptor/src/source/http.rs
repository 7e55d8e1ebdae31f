//! Tokens from any OAuth 2.0 token endpoint. RFC 6749 section 4.4, RFC 8414.

pub(crate) mod answer;
mod metadata;
mod proof;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{IssuedToken, SourceError, SubjectToken, TokenRequest, credential::ClientCredential};
use crate::{clock::Clock, http_client::HttpClient, http_url::HttpUrl, urn};
use metadata::Metadata;
pub use proof::SecretIn;

/// The age at which an issuer's metadata are read again. An endpoint may move while the old one still
/// answers.
const METADATA_AGE_MAX: Duration = Duration::from_secs(60 * 60);

/// The parameter that names an audience in the form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AudienceParameter {
    /// `audience`: this project's issuer, Auth0, RFC 8693.
    #[default]
    Audience,
    /// `resource`: RFC 8707.
    Resource,
    /// None: the server derives it from the scopes, or has only one audience.
    Omitted,
}

/// An issuer with an OAuth token endpoint.
#[derive(Debug)]
pub(super) struct HttpIssuer {
    pub(super) client: HttpClient,
    pub(super) place: Place,
    pub(super) audience_parameter: AudienceParameter,
    /// `None`: as in the issuer's metadata, or else in the header.
    pub(super) secret_in: Option<SecretIn>,
    pub(super) clock: Arc<dyn Clock>,
}

/// The source of the token endpoint's URL.
#[derive(Debug)]
pub(super) enum Place {
    Known(HttpUrl),
    /// Found in the issuer's metadata, which are read again when they are old or the endpoint is gone.
    Discovered {
        issuer: Issuer,
        metadata: ArcSwapOption<Discovered>,
    },
}

/// An issuer's metadata, and the time they were read.
#[derive(Debug)]
pub(super) struct Discovered {
    metadata: Metadata,
    read_at: Instant,
}

/// An issuer's identifier: as it was given, for comparisons, and as a URL.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) identifier: String,
    pub(super) url: HttpUrl,
}

impl Place {
    pub(super) fn discovered(identifier: String, url: HttpUrl) -> Self {
        Self::Discovered { issuer: Issuer { identifier, url }, metadata: ArcSwapOption::empty() }
    }
}

/// The parameters of one request, in order.
type Form<'a> = Vec<(&'a str, Zeroizing<String>)>;

impl HttpIssuer {
    /// RFC 6749 section 4.4.2.
    pub(super) async fn issue(
        &self,
        client_id: &str,
        credential: &ClientCredential,
        request: &TokenRequest,
    ) -> Result<IssuedToken, SourceError> {
        let form = vec![("grant_type", Zeroizing::new("client_credentials".to_owned()))];
        self.ask(client_id, credential, request, form).await
    }

    /// RFC 8693 section 2.1.
    pub(super) async fn exchange(
        &self,
        client_id: &str,
        credential: &ClientCredential,
        request: &TokenRequest,
        subject: &SubjectToken,
    ) -> Result<IssuedToken, SourceError> {
        let field = |value: &str| Zeroizing::new(value.to_owned());
        let form = vec![
            ("grant_type", field(urn::TOKEN_EXCHANGE)),
            ("subject_token", field(subject.expose())),
            ("subject_token_type", field(urn::ACCESS_TOKEN)),
        ];
        self.ask(client_id, credential, request, form).await
    }

    /// Posts `form` with the parameters of `request` and the client's proof.
    async fn ask(
        &self,
        client_id: &str,
        credential: &ClientCredential,
        request: &TokenRequest,
        mut form: Form<'_>,
    ) -> Result<IssuedToken, SourceError> {
        let (endpoint, offered) = self.endpoint().await?;
        if let Some(audience) = request.audience() {
            let audience = Zeroizing::new(audience.to_owned());
            match self.audience_parameter {
                AudienceParameter::Audience => form.push(("audience", audience)),
                AudienceParameter::Resource => form.push(("resource", audience)),
                AudienceParameter::Omitted => {}
            }
        }
        if request.scopes().len() > 0 {
            form.push(("scope", Zeroizing::new(request.scope_parameter())));
        }
        let proof = credential.for_http(client_id, self.secret_in.unwrap_or(offered))?;
        form.extend(proof.fields);
        let fields: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = self.client.post_form(&endpoint, &fields, proof.authorization).await;
        let is_there = answer.as_ref().is_ok_and(answer::is_of_token_endpoint);
        let issued = match answer {
            Ok(answer) => answer::read(&answer, &*self.clock, request.subject().is_some()),
            Err(error) => Err(SourceError::unavailable(error)),
        };
        let failed = issued.as_ref().is_err_and(SourceError::is_transient);
        if (failed || !is_there)
            && let Place::Discovered { metadata, .. } = &self.place
        {
            // The endpoint may have moved, so the next request reads the metadata again.
            metadata.store(None);
        }
        issued
    }

    /// Reads the metadata again. If that fails, the old metadata are used: the endpoint may still be there.
    async fn discovered(
        &self,
        issuer: &Issuer,
        known: &ArcSwapOption<Discovered>,
    ) -> Result<Arc<Discovered>, SourceError> {
        match metadata::discover(&self.client, issuer).await {
            Ok(metadata) => {
                let found = Arc::new(Discovered { metadata, read_at: Instant::now() });
                known.store(Some(Arc::clone(&found)));
                Ok(found)
            }
            Err(error) => known.load_full().ok_or(error),
        }
    }

    async fn endpoint(&self) -> Result<(HttpUrl, SecretIn), SourceError> {
        match &self.place {
            Place::Known(endpoint) => Ok((endpoint.clone(), SecretIn::Header)),
            Place::Discovered { issuer, metadata } => {
                let known = metadata.load_full();
                let known = match known.filter(|known| known.read_at.elapsed() < METADATA_AGE_MAX) {
                    Some(known) => known,
                    None => self.discovered(issuer, metadata).await?,
                };
                Ok((known.metadata.token_endpoint.clone(), known.metadata.secret_in))
            }
        }
    }
}
