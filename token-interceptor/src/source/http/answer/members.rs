//! The members of a token endpoint's answer: strict about the token, lenient about advisory members.
//!
//! Unknown members may have any form and depth, and may repeat: RFC 6749 section 5.1 makes the client ignore
//! them.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::json;

/// The members that are read.
#[derive(Default)]
pub(super) struct Members {
    pub(super) access_token: Option<String>,
    pub(super) token_type: Option<String>,
    pub(super) expires_in: Option<Duration>,
    /// Not in the RFC: this project's issuer and Microsoft's send it.
    pub(super) refresh_in: Option<Duration>,
}

impl Members {
    /// Reads the body as one JSON object.
    pub(super) fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        json::from_object(body)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfObject)
    }
}

struct OfObject;

impl<'de> Visitor<'de> for OfObject {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token endpoint's answer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Members, A::Error> {
        let mut members = Members::default();
        while let Some(name) = entries.next_key::<String>()? {
            match name.as_str() {
                "access_token" => once(&mut members.access_token, entries.next_value()?)?,
                "token_type" => once(&mut members.token_type, entries.next_value()?)?,
                "expires_in" => shortest(&mut members.expires_in, &entries.next_value::<Box<RawValue>>()?),
                "refresh_in" => shortest(&mut members.refresh_in, &entries.next_value::<Box<RawValue>>()?),
                _ => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(members)
    }
}

/// Rejects a second token, as the two would be ambiguous.
fn once<E: de::Error>(member: &mut Option<String>, value: String) -> Result<(), E> {
    if member.replace(value).is_some() { Err(E::custom("a member occurs twice")) } else { Ok(()) }
}

/// Keeps the shortest readable value. An unreadable one counts as absent.
fn shortest(member: &mut Option<Duration>, value: &RawValue) {
    *member = [*member, seconds(value.get())].into_iter().flatten().min();
}

/// Parses a number of seconds in any form that servers send: `3600`, `3600.0`, `3.6e3`, `"3600"`. Rounds
/// down, and caps at the range of the clock. Returns `None` for any other text.
fn seconds(json: &str) -> Option<Duration> {
    let text = json.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(json).trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    // Rust also parses "inf" and "nan".
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let seconds =
        text.parse::<f64>().ok().filter(|seconds| is_number && *seconds >= 0.0 && !seconds.is_sign_negative())?;
    Some(Duration::try_from_secs_f64(seconds.floor()).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime(expires_in: &str) -> Option<Duration> {
        let body = format!(r#"{{"access_token":"a","token_type":"Bearer","expires_in":{expires_in}}}"#);
        let members = Members::read(body.as_bytes()).unwrap();
        assert_eq!(members.access_token.as_deref(), Some("a"), "{expires_in} costs no token");
        members.expires_in
    }

    #[test]
    fn a_lifetime_is_read_in_any_form_that_servers_send() {
        for text in ["3600", "3600.0", "3600.86", "3.6e3", "36E2", "\"3600\"", "\"3600.5\"", "\" 3600 \"", "\"3.6e3\""]
        {
            assert_eq!(lifetime(text), Some(Duration::from_secs(3600)), "{text}");
        }
        for text in ["0", "0.9", "\"0\""] {
            assert_eq!(lifetime(text), Some(Duration::ZERO), "{text}");
        }
    }

    #[test]
    fn a_lifetime_that_is_no_number_of_seconds_reads_as_absent() {
        for text in [
            "null",
            "\"\"",
            "-1",
            "-0.5",
            "\"-1\"",
            "\"soon\"",
            "\"inf\"",
            "\"NaN\"",
            "true",
            "[]",
            "{\"a\":[1]}",
            "\"PT1H\"",
        ] {
            assert_eq!(lifetime(text), None, "{text}");
        }
    }

    #[test]
    fn a_lifetime_beyond_every_clock_is_the_longest() {
        for text in ["1e300", "1e400", "18446744073709551616", "\"99999999999999999999999\""] {
            assert_eq!(lifetime(text), Some(Duration::MAX), "{text}");
        }
        assert_eq!(lifetime("18446744073709551615"), Some(Duration::from_secs(u64::MAX)));
    }

    #[test]
    fn unknown_members_may_be_deep_repeated_and_odd() {
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        for rest in [&*format!(r#""x":{deep}"#), r#""x":1,"x":2"#, r#""x":{"y":1,"y":2}"#, r#""x":1e999"#, r#""":null"#]
        {
            let body = format!(r#"{{{rest},"access_token":"a","token_type":"Bearer",{rest}}}"#);
            let members = Members::read(body.as_bytes()).unwrap_or_else(|error| panic!("{rest:.40}: {error}"));
            assert_eq!(members.access_token.as_deref(), Some("a"));
        }
    }

    #[test]
    fn two_tokens_are_none() {
        for body in [
            r#"{"access_token":"a","access_token":"b","token_type":"Bearer"}"#,
            r#"{"access_token":"a","token_type":"Bearer","token_type":"DPoP"}"#,
        ] {
            assert!(Members::read(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn of_two_lifetimes_the_shorter_counts() {
        let body = br#"{"access_token":"a","token_type":"Bearer","expires_in":300,"expires_in":"x","expires_in":60}"#;
        assert_eq!(Members::read(body).unwrap().expires_in, Some(Duration::from_secs(60)));
    }
}
