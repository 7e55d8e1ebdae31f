//! Extracts the bearer token from the request header fields: RFC 6750 section 2.1.
//!
//! The form body and the query of RFC 6750 are never read: they end up in logs and browser histories.

use http::{HeaderMap, header::AUTHORIZATION};

use crate::{
    error::{Denial, Denied},
    token::UnverifiedToken,
};

const SCHEME: &[u8] = b"bearer";

/// Returns the one bearer token of a request.
///
/// # Errors
///
/// Returns an error if there is no `authorization`, or another scheme (RFC 6750 section 3.1: both read
/// "missing"). Also if `authorization` occurs twice, or no text follows `Bearer`.
pub fn bearer(headers: &HeaderMap) -> Result<UnverifiedToken<'_>, Denied> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Err(Denial::CredentialsMissing.into()) };
    // A proxy may read the first field and this layer the last. A caller that sends two wants them to
    // disagree.
    if values.next().is_some() {
        return Err(Denial::CredentialsMalformed("authorization occurs twice").into());
    }
    let value = value.as_bytes();
    let (scheme, rest) = value.split_at_checked(SCHEME.len()).unwrap_or((value, &[]));
    if !scheme.eq_ignore_ascii_case(SCHEME) || rest.first().is_some_and(|byte| *byte != b' ') {
        return Err(Denial::CredentialsMissing.into());
    }
    // The characters are checked when the token is decoded: once per token, not per call.
    let token = std::str::from_utf8(rest).map_or("", |rest| rest.trim_start_matches(' '));
    if token.is_empty() {
        return Err(Denial::CredentialsMalformed("no token follows Bearer").into());
    }
    Ok(UnverifiedToken::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&[u8]]) -> Result<String, Denial> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, http::HeaderValue::from_bytes(value).unwrap());
        }
        bearer(&headers).map(|token| token.expose().to_owned()).map_err(|denied| denied.0)
    }

    #[test]
    fn the_scheme_is_case_insensitive_and_spaces_may_follow() {
        for value in [&b"Bearer a.b.c"[..], b"bearer a.b.c", b"BEARER   a.b.c"] {
            assert_eq!(read(&[value]), Ok("a.b.c".to_owned()));
        }
    }

    #[test]
    fn no_token_and_other_schemes_read_missing() {
        assert_eq!(read(&[]), Err(Denial::CredentialsMissing));
        for value in [&b"Basic YTpi"[..], b"", b"a.b.c", b"Bearerx a.b.c", b"Bearer\ta.b.c", b"Token a"] {
            assert_eq!(read(&[value]), Err(Denial::CredentialsMissing), "{}", value.escape_ascii());
        }
    }

    #[test]
    fn refuses_two_authorizations_even_if_equal() {
        let twice = read(&[b"Bearer a.b.c", b"Bearer a.b.c"]);
        assert!(matches!(twice, Err(Denial::CredentialsMalformed(_))));
    }

    #[test]
    fn refuses_a_scheme_without_a_token() {
        for value in [&b"Bearer"[..], b"Bearer ", b"Bearer   ", b"Bearer \xff"] {
            let refused = read(&[value]);
            assert!(matches!(refused, Err(Denial::CredentialsMalformed(_))), "{}", value.escape_ascii());
        }
    }
}
