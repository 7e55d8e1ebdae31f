//! The answer of a token endpoint. RFC 6749 sections 5.1 and 5.2.

mod members;

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, StatusCode,
    header::{DATE, RETRY_AFTER},
};
use serde_json::Value;

use crate::{
    clock::Clock,
    http_client::HttpResponse,
    json,
    source::{AccessToken, IssuedToken, IssuerRefusal, LIFETIME_DEFAULT, SourceError},
};

use members::Members;

/// The longest `error_description` that is kept for the log, in characters.
const DESCRIPTION_CHARS_MAX: usize = 200;

/// Reads the answer: a token, a refusal, or neither.
///
/// `exchanged` says that the request was for a token exchange.
pub(crate) fn read(answer: &HttpResponse, clock: &dyn Clock, exchanged: bool) -> Result<IssuedToken, SourceError> {
    let server_time = date(&answer.headers, DATE);
    if answer.status == StatusCode::OK {
        return token(&answer.body, server_time).map_err(SourceError::unavailable);
    }
    let retry_after = retry_after(&answer.headers, server_time.unwrap_or_else(|| clock.now()));
    let failure = match refusal(answer.status, &answer.body, exchanged) {
        Some((refusal, text)) => SourceError::refused(refusal, text),
        None => SourceError::unavailable(format!("the token endpoint answered {}", answer.status)),
    };
    Err(failure.with_retry_after(retry_after))
}

/// RFC 6749 section 5.1. The lifetime is optional: without a readable one, a short one is assumed.
fn token(body: &[u8], server_time: Option<SystemTime>) -> Result<IssuedToken, &'static str> {
    let members = Members::read(body).map_err(|_| "the token endpoint's answer is not a JSON object with one token")?;
    let value = members.access_token.ok_or("the token endpoint's answer has no access_token")?;
    let kind = members.token_type.ok_or("the token endpoint's answer has no token_type")?;
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err("the token endpoint's token is not a bearer token");
    }
    Ok(IssuedToken {
        token: AccessToken::new(&value).map_err(|_| "the token endpoint's access_token is malformed")?,
        expires_in: members.expires_in.unwrap_or(LIFETIME_DEFAULT),
        refresh_after: members.refresh_in,
        server_time,
    })
}

/// RFC 6749 section 5.2. Overload is no refusal, even if the body says so. Nor is a missing endpoint, unless
/// its body has an OAuth error code.
fn refusal(status: StatusCode, body: &[u8], exchanged: bool) -> Option<(IssuerRefusal, String)> {
    if !status.is_client_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT {
        return None;
    }
    let members = json::object(body).ok()?;
    let code = members.get("error").and_then(Value::as_str)?;
    if matches!(code, "temporarily_unavailable" | "server_error" | "slow_down") || (is_gone(status) && !is_oauth(code))
    {
        return None;
    }
    let description = members.get("error_description").and_then(Value::as_str).unwrap_or_default();
    // RFC 8693 section 2.2.2: the code for a subject token that the issuer does not accept.
    let about_the_subject = exchanged && code == "invalid_request";
    let refusal = if about_the_subject { IssuerRefusal::Grant } else { IssuerRefusal::from_code(code) };
    Some((refusal, format!("{}: {}", printable(code), printable(description))))
}

/// Returns true if the answer must be a token endpoint's: a token, or an OAuth error code. Any other answer
/// may come from another program, at a URL that the token endpoint has left.
pub(in crate::source) fn is_of_token_endpoint(answer: &HttpResponse) -> bool {
    if answer.status.is_success() {
        return Members::read(&answer.body).is_ok_and(|members| members.access_token.is_some());
    }
    let members = json::object(&answer.body).ok();
    let code = members.as_ref().and_then(|members| members.get("error")).and_then(Value::as_str);
    !is_gone(answer.status) && code.is_some_and(is_oauth)
}

fn is_gone(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE)
}

/// RFC 6749 sections 4.1.2.1 and 5.2, RFC 8693 section 2.2.2, RFC 8707 section 2.
fn is_oauth(code: &str) -> bool {
    matches!(
        code,
        "invalid_request"
            | "invalid_client"
            | "invalid_grant"
            | "unauthorized_client"
            | "unsupported_grant_type"
            | "invalid_scope"
            | "invalid_target"
            | "access_denied"
            | "temporarily_unavailable"
            | "server_error"
            | "slow_down"
    )
}

/// Keeps the characters that RFC 6749 section 5.2 allows in an error, so that the text cannot forge log
/// lines.
pub(super) fn printable(text: &str) -> String {
    let allowed = |c: &char| matches!(c, ' '..='!' | '#'..='[' | ']'..='~');
    text.chars().filter(allowed).take(DESCRIPTION_CHARS_MAX).collect()
}

/// RFC 9110 section 10.2.3: seconds, or a date by the server's own clock.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs);
    seconds.or_else(|| date(headers, RETRY_AFTER)?.duration_since(now).ok())
}

fn date(headers: &HeaderMap, name: http::HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::clock::SystemClock;

    fn answer(status: u16, headers: &[(http::HeaderName, &str)], body: &str) -> Result<IssuedToken, SourceError> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        let status = StatusCode::from_u16(status).unwrap();
        read(&HttpResponse { status, headers, body: Bytes::copy_from_slice(body.as_bytes()) }, &SystemClock, false)
    }

    #[test]
    fn reads_the_example_of_rfc_6749_section_5_1() {
        let issued =
            answer(200, &[], r#"{"access_token":"2YotnFZFEjr1zCsicMWpAA","token_type":"example","expires_in":3600}"#);
        assert!(issued.unwrap_err().is_transient(), "not a bearer token");
        let issued = answer(
            200,
            &[],
            r#"{"access_token":"2YotnFZFEjr1zCsicMWpAA","token_type":"BEARER","expires_in":3600,"x":[]}"#,
        );
        let issued = issued.unwrap();
        assert_eq!(issued.token.expose(), "2YotnFZFEjr1zCsicMWpAA");
        assert_eq!(issued.expires_in, Duration::from_secs(3600));
    }

    /// RFC 8693 section 2.2.2.
    #[test]
    fn an_invalid_request_of_an_exchange_is_about_the_subject_token() {
        let answer = |code: &str, exchanged| {
            let body = Bytes::from(format!(r#"{{"error":"{code}"}}"#));
            let answer = HttpResponse { status: StatusCode::BAD_REQUEST, headers: HeaderMap::new(), body };
            read(&answer, &SystemClock, exchanged).unwrap_err().refusal()
        };
        assert_eq!(answer("invalid_request", true), Some(IssuerRefusal::Grant));
        assert_eq!(answer("invalid_request", false), Some(IssuerRefusal::Request));
        assert_eq!(answer("unsupported_grant_type", true), Some(IssuerRefusal::Request));
    }

    #[test]
    fn an_issuer_may_say_when_it_wants_the_token_renewed() {
        let issued =
            answer(200, &[], r#"{"access_token":"a","token_type":"Bearer","expires_in":300,"refresh_in":240}"#);
        assert_eq!(issued.unwrap().refresh_after, Some(Duration::from_secs(240)));
    }

    #[test]
    fn a_missing_lifetime_reads_as_a_short_one() {
        let issued = answer(200, &[], r#"{"access_token":"a","token_type":"Bearer"}"#).unwrap();
        assert_eq!(issued.expires_in, LIFETIME_DEFAULT);
    }

    #[test]
    fn what_is_no_answer_of_section_5_1_is_no_token() {
        for body in [
            "",
            "{}",
            "[]",
            "<html>",
            r#"{"access_token":"a"}"#,
            r#"{"token_type":"Bearer"}"#,
            r#"{"access_token":1,"token_type":"Bearer"}"#,
            r#"{"access_token":"a","access_token":"b","token_type":"Bearer"}"#,
            r#"{"access_token":"a b","token_type":"Bearer"}"#,
        ] {
            assert!(answer(200, &[], body).unwrap_err().is_transient(), "{body}");
        }
    }

    #[test]
    fn a_no_is_told_from_an_outage() {
        let refusal =
            |status, code: &str| answer(status, &[], &format!(r#"{{"error":"{code}"}}"#)).unwrap_err().refusal();
        assert_eq!(refusal(401, "invalid_client"), Some(IssuerRefusal::ClientAuthentication));
        assert_eq!(refusal(400, "invalid_client"), Some(IssuerRefusal::ClientAuthentication));
        assert_eq!(refusal(400, "invalid_scope"), Some(IssuerRefusal::Scope));
        assert_eq!(refusal(400, "unheard_of"), Some(IssuerRefusal::Request));
        for (status, code) in [
            (500, "invalid_client"),
            (503, "invalid_client"),
            (429, "invalid_client"),
            (400, "temporarily_unavailable"),
            (301, "invalid_client"),
        ] {
            assert_eq!(refusal(status, code), None, "{status} {code}");
        }
        assert_eq!(answer(404, &[], "<html>").unwrap_err().refusal(), None);
    }

    #[test]
    fn an_endpoint_that_is_gone_is_an_outage_and_not_a_refusal() {
        for status in [404, 405, 410] {
            let refusal = |code: &str| answer(status, &[], &format!(r#"{{"error":"{code}"}}"#)).unwrap_err().refusal();
            assert_eq!(refusal("not_found"), None, "{status}");
            assert_eq!(refusal("invalid_client"), Some(IssuerRefusal::ClientAuthentication), "{status}");
        }
    }

    #[test]
    fn another_program_is_told_from_a_token_endpoint() {
        let is = |status, body: &str| {
            let (status, body) = (StatusCode::from_u16(status).unwrap(), Bytes::copy_from_slice(body.as_bytes()));
            is_of_token_endpoint(&HttpResponse { status, headers: HeaderMap::new(), body })
        };
        assert!(is(200, r#"{"access_token":"a"}"#) && is(400, r#"{"error":"invalid_scope"}"#));
        assert!(is(401, r#"{"error":"invalid_client"}"#) && is(503, r#"{"error":"temporarily_unavailable"}"#));
        for (status, body) in [
            (404, r#"{"error":"not_found"}"#),
            (404, r#"{"error":"invalid_client"}"#),
            (405, ""),
            (410, "<html>"),
            (400, r#"{"error":"bad_path"}"#),
            (401, r#"{"error":"Unauthorized"}"#),
            (403, ""),
            (502, ""),
            (200, "{}"),
            (301, ""),
        ] {
            assert!(!is(status, body), "{status} {body}");
        }
    }

    #[test]
    fn retry_after_in_either_form_is_passed_on() {
        let asked = |headers: &[(http::HeaderName, &str)]| answer(503, headers, "").unwrap_err().retry_after();
        assert_eq!(asked(&[(RETRY_AFTER, "7")]), Some(Duration::from_secs(7)));
        let (date, later) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:44 GMT");
        assert_eq!(asked(&[(DATE, date), (RETRY_AFTER, later)]), Some(Duration::from_secs(7)));
        assert_eq!(asked(&[(RETRY_AFTER, later)]), None, "in the past");
        assert_eq!(asked(&[(RETRY_AFTER, "soon")]), None);
    }

    #[test]
    fn an_error_description_cannot_forge_a_log_line() {
        let error =
            answer(400, &[], r#"{"error":"invalid_scope","error_description":"a\nWARN b\u001b[0m"}"#).unwrap_err();
        let text = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(text, "invalid_scope: aWARN b[0m");
    }

    proptest! {
        #[test]
        fn no_answer_causes_a_panic(status in 100..1000_u16, body: Vec<u8>, retry_after in "\\PC*") {
            let mut headers = HeaderMap::new();
            if let Ok(value) = retry_after.parse() { headers.insert(RETRY_AFTER, value); }
            let answer = HttpResponse { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into() };
            let _ = read(&answer, &SystemClock, false);
        }
    }
}
