//! Client authentication in `authorization: Basic`, as an HTTP header and as gRPC metadata.
//!
//! RFC 6749 section 2.3.1: identifier and secret are each form-encoded, then joined by a colon as in RFC
//! 7617.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use secrecy::SecretString;
use token_issuer::error::{AuthenticationFailure, IssueError};
use zeroize::Zeroizing;

use crate::form;

/// The longest header value that is decoded, in bytes.
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// The content of the header.
#[derive(Debug)]
pub(crate) struct Basic {
    pub(crate) client_id: String,
    pub(crate) secret: SecretString,
}

/// Reads the `authorization` header. Returns `None` if there is none.
///
/// # Errors
///
/// `invalid_request` for repeated headers: a reader of the first one and a reader of the last one would
/// disagree. A failed client authentication for every other malformed header, which RFC 6749 section 5.2
/// answers with a challenge.
pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Option<Basic>, IssueError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => Err(IssueError::invalid_request("The authorization header is repeated.")),
        (Some(value), None) => parse(value.as_bytes()).map(Some).map_err(IssueError::ClientAuthenticationFailed),
    }
}

/// The `WWW-Authenticate` header for a failed client authentication. RFC 7617 section 2.
pub(crate) fn challenge(realm: &str) -> HeaderValue {
    let quoted: String = realm.chars().filter(|c| !matches!(c, '"' | '\\')).collect();
    HeaderValue::try_from(format!("Basic realm=\"{quoted}\", charset=\"UTF-8\""))
        .unwrap_or(HeaderValue::from_static("Basic realm=\"token-server\", charset=\"UTF-8\""))
}

fn parse(value: &[u8]) -> Result<Basic, AuthenticationFailure> {
    const MALFORMED: AuthenticationFailure = AuthenticationFailure::Malformed;
    if value.len() > HEADER_BYTES_MAX {
        return Err(MALFORMED);
    }
    let (scheme, credentials) = value.split_at_checked(6).ok_or(AuthenticationFailure::UnsupportedMethod)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return Err(AuthenticationFailure::UnsupportedMethod);
    }
    let decoded = Zeroizing::new(STANDARD.decode(credentials.trim_ascii()).map_err(|_| MALFORMED)?);
    let colon = decoded.iter().position(|byte| *byte == b':').ok_or(MALFORMED)?;
    let (client_id, secret) = decoded.split_at(colon);
    let client_id = form::decode(client_id).map_err(|_| MALFORMED)?;
    let secret = form::decode(secret.get(1..).unwrap_or_default()).map_err(|_| MALFORMED)?;
    if client_id.is_empty() {
        return Err(MALFORMED);
    }
    Ok(Basic { client_id, secret: secret.into() })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    fn basic(plain: &str) -> String {
        format!("Basic {}", STANDARD.encode(plain))
    }

    fn read(value: &str) -> Result<(String, String), AuthenticationFailure> {
        parse(value.as_bytes()).map(|basic| (basic.client_id, basic.secret.expose_secret().to_owned()))
    }

    #[test]
    fn reads_the_example_of_rfc_6749_section_2_3_1() {
        let (client_id, secret) = read("Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW").unwrap();
        assert_eq!((client_id.as_str(), secret.as_str()), ("s6BhdRkqt3", "gX1fBat3bV"));
    }

    #[test]
    fn form_decodes_identifier_and_secret_each() {
        let expected = ("a:b c".to_owned(), "p%w:d".to_owned());
        assert_eq!(read(&basic("a%3Ab+c:p%25w%3Ad")), Ok(expected));
    }

    #[test]
    fn secret_may_hold_a_colon_and_the_scheme_any_case() {
        let value = basic("a:b:c").replace("Basic", "bAsIc");
        assert_eq!(read(&value), Ok(("a".to_owned(), "b:c".to_owned())));
    }

    #[test]
    fn rejects_what_is_not_well_formed() {
        for value in ["Basic", "Basic ", "Basic !", &basic("nocolon"), &basic(":secret"), &basic("a%zz:b")] {
            assert!(read(value).is_err(), "{value}");
        }
        assert_eq!(read("Bearer abc"), Err(AuthenticationFailure::UnsupportedMethod));
        assert_eq!(read(&basic(&"a".repeat(9000))), Err(AuthenticationFailure::Malformed));
    }

    #[test]
    fn rejects_a_repeated_header() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::try_from(basic("a:b")).unwrap());
        headers.append(AUTHORIZATION, HeaderValue::try_from(basic("a:b")).unwrap());
        assert!(matches!(from_headers(&headers), Err(IssueError::InvalidRequest(_))));
    }

    #[test]
    fn debug_is_censored() {
        assert!(!format!("{:?}", parse(basic("a:swordfish").as_bytes()).unwrap()).contains("swordfish"));
    }

    proptest! {
        #[test]
        fn never_panics(value in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse(&value);
        }
    }
}
