//! An access token, ready to be sent and never printed.

use std::fmt;

use http::HeaderValue;

/// An access token as the value of an `authorization` header. RFC 6750 section 2.1.
///
/// It is prepared once, so that attaching it only copies a reference. It is marked sensitive, so that HTTP/2
/// keeps it out of its compression table and it is never printed.
#[derive(Clone)]
pub struct AccessToken {
    header: HeaderValue,
}

/// The error of a text that is no token of RFC 6750 section 2.1. It does not quote the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an access token: RFC 6750 allows letters, digits and -._~+/ with = at the end")]
pub struct MalformedToken;

const SCHEME: &str = "Bearer ";

impl AccessToken {
    /// Takes a token in the form that `authorization: Bearer` carries: `b64token`.
    ///
    /// # Errors
    ///
    /// Returns an error if it is empty or has a character outside the RFC's set. Such a header could be cut,
    /// be rejected on the way, or smuggle in a second header.
    pub fn new(token: &str) -> Result<Self, MalformedToken> {
        let body = token.trim_end_matches('=');
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        if body.is_empty() || !body.bytes().all(allowed) {
            return Err(MalformedToken);
        }
        let mut header = HeaderValue::try_from(format!("{SCHEME}{token}")).map_err(|_| MalformedToken)?;
        header.set_sensitive(true);
        Ok(Self { header })
    }

    /// Returns the value of the `authorization` header: `Bearer …`, marked sensitive.
    #[must_use]
    pub fn header(&self) -> &HeaderValue {
        &self.header
    }

    /// Returns the value of the `authorization` header and consumes the token.
    #[must_use]
    pub fn into_header(self) -> HeaderValue {
        self.header
    }

    /// Returns the token itself, for uses other than a header: an agent's file, an exchange.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.header.to_str().ok().and_then(|header| header.strip_prefix(SCHEME)).unwrap_or_default()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_censored_when_printed() {
        let token = AccessToken::new("c2VjcmV0.c2VjcmV0").unwrap();
        assert!(!format!("{token:?} {:?}", token.header()).contains("c2VjcmV0"));
    }

    #[test]
    fn is_sent_as_a_sensitive_bearer_header() {
        let token = AccessToken::new("a.b-c_d~e+f/g==").unwrap();
        assert!(token.header().is_sensitive());
        assert_eq!(token.header().as_bytes(), b"Bearer a.b-c_d~e+f/g==");
        assert_eq!(token.expose(), "a.b-c_d~e+f/g==");
    }

    #[test]
    fn rejects_what_cannot_be_a_token() {
        for text in ["", "=", "a b", "a\r\nx: y", "a\nb", "a,b", "ä", "a=b", "\"a\"", "a\0"] {
            assert!(AccessToken::new(text).is_err(), "{text:?}");
        }
    }
}
