//! The authentication of a client in a form post. RFC 6749 section 2.3.1, RFC 7523 section 2.2.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::{
    source::{ClientCredential, SourceError},
    urn,
};

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
pub(crate) struct HttpProof {
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) fields: Vec<(&'static str, Zeroizing<String>)>,
}

impl ClientCredential {
    /// Returns the proof for a token endpoint or an introspection endpoint.
    pub(crate) fn for_http(&self, client_id: &str, place: SecretIn) -> Result<HttpProof, SourceError> {
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
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = Zeroizing::new(format!("{}:{}", encode(client_id), &*Zeroizing::new(encode(secret.expose_secret()))));
    let value = Zeroizing::new(format!("Basic {}", &*Zeroizing::new(STANDARD.encode(pair.as_bytes()))));
    let mut header = HeaderValue::try_from(value.as_str()).map_err(SourceError::unavailable)?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

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
