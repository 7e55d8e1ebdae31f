//! The authentication of a client to an issuer. RFC 6749 section 2.3, RFC 7523 section 2.2.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use token_proto::token::v1::{self, client_authentication};
use zeroize::Zeroizing;

use super::{SourceError, assertion::PrivateKeyJwt};
use crate::urn;

/// A client's credential. Never printed.
#[derive(Clone)]
#[non_exhaustive]
pub enum ClientCredential {
    /// `client_secret_basic` or `client_secret_post`.
    Secret(SecretString),
    /// `private_key_jwt`.
    PrivateKey(Arc<PrivateKeyJwt>),
}

/// The place of a client secret in an HTTP request. Exhaustive: RFC 6749 section 2.3.1 has these two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretIn {
    /// `client_secret_basic`: the header, which every server must support.
    Header,
    /// `client_secret_post`: the form.
    Form,
}

/// The client authentication of a form post.
#[derive(Default)]
pub(super) struct HttpProof {
    pub(super) authorization: Option<HeaderValue>,
    pub(super) fields: Vec<(&'static str, Zeroizing<String>)>,
}

impl ClientCredential {
    /// Returns the proof for `TokenService`.
    pub(super) fn for_grpc(&self, client_id: &str) -> Result<v1::ClientAuthentication, SourceError> {
        let credential = match self {
            Self::Secret(secret) => client_authentication::Credential::ClientSecret(secret.expose_secret().to_owned()),
            Self::PrivateKey(key) => client_authentication::Credential::Assertion(v1::ClientAssertion {
                r#type: urn::JWT_BEARER_ASSERTION.to_owned(),
                value: key.sign(client_id).map_err(SourceError::unavailable)?,
            }),
        };
        Ok(v1::ClientAuthentication { client_id: client_id.to_owned(), credential: Some(credential) })
    }

    /// Returns the proof for a token endpoint.
    pub(super) fn for_http(&self, client_id: &str, place: SecretIn) -> Result<HttpProof, SourceError> {
        let id = ("client_id", Zeroizing::new(client_id.to_owned()));
        Ok(match (self, place) {
            (Self::Secret(secret), SecretIn::Header) => {
                HttpProof { authorization: Some(basic(client_id, secret)?), fields: Vec::new() }
            }
            (Self::Secret(secret), SecretIn::Form) => {
                let secret = ("client_secret", Zeroizing::new(secret.expose_secret().to_owned()));
                HttpProof { authorization: None, fields: vec![id, secret] }
            }
            (Self::PrivateKey(key), _) => {
                let assertion = key.sign(client_id).map_err(SourceError::unavailable)?;
                let kind = ("client_assertion_type", Zeroizing::new(urn::JWT_BEARER_ASSERTION.to_owned()));
                HttpProof {
                    authorization: None,
                    fields: vec![id, kind, ("client_assertion", Zeroizing::new(assertion))],
                }
            }
        })
    }
}

/// RFC 6749 section 2.3.1: both halves are form-encoded before they are joined. Otherwise a colon in the
/// identifier would move the border between them.
fn basic(client_id: &str, secret: &SecretString) -> Result<HeaderValue, SourceError> {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = Zeroizing::new(format!("{}:{}", encode(client_id), &*Zeroizing::new(encode(secret.expose_secret()))));
    let value = Zeroizing::new(format!("Basic {}", &*Zeroizing::new(STANDARD.encode(pair.as_bytes()))));
    let mut header = HeaderValue::try_from(value.as_str()).map_err(SourceError::unavailable)?;
    header.set_sensitive(true);
    Ok(header)
}

impl From<SecretString> for ClientCredential {
    fn from(secret: SecretString) -> Self {
        Self::Secret(secret)
    }
}

impl From<String> for ClientCredential {
    fn from(secret: String) -> Self {
        Self::Secret(secret.into())
    }
}

impl From<&str> for ClientCredential {
    fn from(secret: &str) -> Self {
        Self::Secret(secret.into())
    }
}

impl From<PrivateKeyJwt> for ClientCredential {
    fn from(key: PrivateKeyJwt) -> Self {
        Self::PrivateKey(Arc::new(key))
    }
}

impl fmt::Debug for ClientCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret([REDACTED])",
            Self::PrivateKey(_) => "PrivateKey([REDACTED])",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_censored_when_printed() {
        assert!(!format!("{:?}", ClientCredential::from("tks_secret")).contains("tks_"));
    }

    #[test]
    fn basic_form_encodes_both_halves_first() {
        let header = basic("a:b c", &"p%ü+/".into()).unwrap();
        assert!(header.is_sensitive());
        let pair = STANDARD.decode(&header.as_bytes()["Basic ".len()..]).unwrap();
        assert_eq!(pair, b"a%3Ab+c:p%25%C3%BC%2B%2F");
    }

    #[test]
    fn a_secret_goes_into_the_header_or_the_form_never_both() {
        let credential = ClientCredential::from("s");
        let header = credential.for_http("a", SecretIn::Header).unwrap();
        assert!(header.authorization.is_some() && header.fields.is_empty());
        let form = credential.for_http("a", SecretIn::Form).unwrap();
        let names: Vec<&str> = form.fields.iter().map(|(name, _)| *name).collect();
        assert!(form.authorization.is_none());
        assert_eq!(names, ["client_id", "client_secret"]);
    }
}
