//! The answer of an introspection endpoint: RFC 7662 section 2.2.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::StatusCode;
use serde_json::{Map, Value};

use crate::{
    clock::{NUMERIC_DATE_MAX, numeric_date_of},
    http_client::HttpResponse,
    json,
};

/// The meaning of a token.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// The endpoint vouches for these members.
    Active(Arc<Map<String, Value>>),
    Inactive,
}

impl Answer {
    /// Returns the end of the answer: `exp`, or `keep` after `now`, the sooner.
    pub(super) fn until(&self, now: SystemTime, keep: Duration) -> SystemTime {
        let latest = now.checked_add(keep).unwrap_or(now);
        let Self::Active(members) = self else { return latest };
        let expires_at = members.get("exp").and_then(Value::as_f64).and_then(|exp| numeric_date_of(exp, false));
        let expires_at = Duration::from_secs(expires_at.unwrap_or(NUMERIC_DATE_MAX));
        SystemTime::UNIX_EPOCH.checked_add(expires_at).map_or(latest, |end| end.min(latest))
    }
}

/// Reads the answer.
///
/// # Errors
///
/// Returns the fault of the endpoint, for the log. It quotes nothing of the answer.
pub(super) fn read(answer: &HttpResponse) -> Result<Answer, String> {
    match answer.status {
        StatusCode::OK => {}
        // RFC 7662 section 2.3.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(format!("it refused this service's own credential ({})", answer.status));
        }
        status => return Err(format!("it answered {status}")),
    }
    let members = json::object(&answer.body).map_err(|_| "its answer is not one strict JSON object".to_owned())?;
    match members.get("active") {
        Some(Value::Bool(true)) => Ok(Answer::Active(Arc::new(members))),
        Some(Value::Bool(false)) => Ok(Answer::Inactive),
        Some(_) | None => Err("its answer has no active, or one that is not a boolean".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<Answer, String> {
        let status = StatusCode::from_u16(status).unwrap();
        read(&HttpResponse { status, headers: http::HeaderMap::new(), body: body.to_owned().into() })
    }

    #[test]
    fn only_a_plain_yes_is_active() {
        assert!(matches!(answer(200, r#"{"active":true,"sub":"a"}"#), Ok(Answer::Active(_))));
        assert!(matches!(answer(200, r#"{"active":false,"sub":"a"}"#), Ok(Answer::Inactive)));
        for (status, body) in [
            (200, ""),
            (200, "{}"),
            (200, r#"{"active":"true"}"#),
            (200, r#"{"active":1}"#),
            (200, r#"{"active":null}"#),
            (200, r#"[{"active":true}]"#),
            (200, r#"{"active":true,"active":false}"#),
            (200, r#"{"active":false,"active":true}"#),
            (200, r#"{"active":true} x"#),
            (201, r#"{"active":true}"#),
            (302, r#"{"active":true}"#),
            (400, r#"{"active":true}"#),
            (401, r#"{"active":true}"#),
            (500, r#"{"active":true}"#),
        ] {
            assert!(answer(status, body).is_err(), "{status} {body}");
        }
        assert!(answer(401, "").unwrap_err().contains("this service's own credential"));
    }

    #[test]
    fn an_answer_ends_with_its_token_or_before() {
        let (now, keep) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1000), Duration::from_secs(60));
        for (members, end) in [
            (r#"{"active":true,"exp":1030}"#, 1030),
            (r#"{"active":true,"exp":1030.9}"#, 1030),
            (r#"{"active":true,"exp":1}"#, 1),
            (r#"{"active":true,"exp":9999}"#, 1060),
            (r#"{"active":true,"exp":"soon"}"#, 1060),
            (r#"{"active":true}"#, 1060),
            (r#"{"active":false,"exp":1}"#, 1060),
        ] {
            let until = answer(200, members).unwrap().until(now, keep);
            assert_eq!(until, SystemTime::UNIX_EPOCH + Duration::from_secs(end), "{members}");
        }
    }
}
