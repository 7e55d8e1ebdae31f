//! A token endpoint's answer. RFC 6749 sections 5.1 and 5.2, read strictly.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, StatusCode,
    header::{DATE, RETRY_AFTER},
};
use serde_json::{Map, Value};

use crate::{
    clock::Clock,
    http_client::HttpResponse,
    json,
    source::{AccessToken, IssuedToken, LIFETIME_DEFAULT, Refusal, SourceError},
};

/// Longest `error_description` that is kept for the log.
const DESCRIPTION_CHARS_MAX: usize = 200;

/// Reads the answer: a token, a no, or neither.
pub(in crate::source) fn read(answer: &HttpResponse, clock: &dyn Clock) -> Result<IssuedToken, SourceError> {
    let server_time = date(&answer.headers, DATE);
    if answer.status == StatusCode::OK {
        return token(&answer.body, server_time).map_err(SourceError::unavailable);
    }
    let retry_after = retry_after(&answer.headers, server_time.unwrap_or_else(|| clock.now()));
    let failure = match refusal(answer.status, &answer.body) {
        Some((refusal, text)) => SourceError::refused(refusal, text),
        None => SourceError::unavailable(format!("the token endpoint answered {}", answer.status)),
    };
    Err(failure.with_retry_after(retry_after))
}

/// RFC 6749 section 5.1.
fn token(body: &[u8], server_time: Option<SystemTime>) -> Result<IssuedToken, &'static str> {
    let members = json::object(body).map_err(|_| "the token endpoint's answer is not a JSON object")?;
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let value = text("access_token").ok_or("the token endpoint's answer has no access_token")?;
    let kind = text("token_type").ok_or("the token endpoint's answer has no token_type")?;
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err("the token endpoint's token is not a bearer token");
    }
    Ok(IssuedToken {
        token: AccessToken::new(value).map_err(|_| "the token endpoint's access_token is malformed")?,
        expires_in: lifetime(&members)?,
        // Not of the RFC: this project's issuer says it, and so does Microsoft's.
        refresh_after: members.get("refresh_in").and_then(Value::as_u64).map(Duration::from_secs),
        server_time,
    })
}

/// Absent: a short one, as nobody knows. A string of digits is what some servers send for a number.
fn lifetime(members: &Map<String, Value>) -> Result<Duration, &'static str> {
    let seconds = match members.get("expires_in") {
        None | Some(Value::Null) => return Ok(LIFETIME_DEFAULT),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(digits)) => digits.parse().ok(),
        Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) => None,
    };
    seconds.map(Duration::from_secs).ok_or("the token endpoint's expires_in is not a number of seconds")
}

/// RFC 6749 section 5.2. Overload is not a no, whatever the body says.
fn refusal(status: StatusCode, body: &[u8]) -> Option<(Refusal, String)> {
    if !status.is_client_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT {
        return None;
    }
    let members = json::object(body).ok()?;
    let code = members.get("error").and_then(Value::as_str)?;
    if matches!(code, "temporarily_unavailable" | "server_error" | "slow_down") {
        return None;
    }
    let description = members.get("error_description").and_then(Value::as_str).unwrap_or_default();
    Some((Refusal::from_code(code), format!("{}: {}", printable(code), printable(description))))
}

/// The characters that RFC 6749 section 5.2 allows in an error: nothing that could forge a line of a log.
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
        read(&HttpResponse { status, headers, body: Bytes::copy_from_slice(body.as_bytes()) }, &SystemClock)
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
            r#"{"access_token":"a","token_type":"Bearer","expires_in":-1}"#,
            r#"{"access_token":"a","token_type":"Bearer","expires_in":"soon"}"#,
            r#"{"access_token":"a","token_type":"Bearer","expires_in":1.5}"#,
        ] {
            assert!(answer(200, &[], body).unwrap_err().is_transient(), "{body}");
        }
    }

    #[test]
    fn a_no_is_told_from_an_outage() {
        let refusal =
            |status, code: &str| answer(status, &[], &format!(r#"{{"error":"{code}"}}"#)).unwrap_err().refusal();
        assert_eq!(refusal(401, "invalid_client"), Some(Refusal::ClientAuthentication));
        assert_eq!(refusal(400, "invalid_client"), Some(Refusal::ClientAuthentication));
        assert_eq!(refusal(400, "invalid_scope"), Some(Refusal::Scope));
        assert_eq!(refusal(400, "unheard_of"), Some(Refusal::Request));
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
        fn whatever_is_answered_is_not_a_panic(status in 100..1000_u16, body: Vec<u8>, retry_after in "\\PC*") {
            let mut headers = HeaderMap::new();
            if let Ok(value) = retry_after.parse() { headers.insert(RETRY_AFTER, value); }
            let answer = HttpResponse { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into() };
            let _ = read(&answer, &SystemClock);
        }
    }
}
