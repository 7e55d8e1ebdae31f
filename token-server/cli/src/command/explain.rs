//! A token in words. It is decoded only; the server layer verifies.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use token_interceptor::json;

use super::output::printable;

/// Claims with a line of their own. RFC 7519 section 4.1, RFC 9068 section 2.2.
const TOLD: [&str; 10] = ["iss", "sub", "client_id", "aud", "scope", "iat", "nbf", "exp", "jti", "act"];
/// The tolerated difference between verifiers' clocks.
const SKEW: Duration = Duration::from_secs(60);
/// The lifetime above which a token is reported as long-lived, in seconds. Few tokens are needed for longer
/// than a day.
const LONG: u64 = 24 * 3600;

/// The decoded content of a token.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
}

/// The reason why a text cannot be decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotAToken(String);

impl fmt::Display for NotAToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAToken {}

/// Decodes a JWS in compact form. RFC 7515 section 7.1.
pub(super) fn decode(token: &str) -> Result<Decoded, NotAToken> {
    let parts: Vec<&str> = token.split('.').collect();
    match parts.as_slice() {
        [header, claims, _signature] => {
            Ok(Decoded { header: object("header", header)?, claims: object("claims", claims)? })
        }
        [header, _, _, _, _] => {
            let header = object("header", header)?;
            let to = header.get("kid").and_then(Value::as_str).unwrap_or("unnamed");
            Err(NotAToken(format!("it is encrypted (JWE) to the key {to}: only its audience can read it")))
        }
        [_] => Err(NotAToken("it is opaque: it has no parts that could be decoded".to_owned())),
        parts => Err(NotAToken(format!("it has {} parts; a signed token has three", parts.len()))),
    }
}

fn object(what: &str, part: &str) -> Result<Map<String, Value>, NotAToken> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| NotAToken(format!("its {what} is not base64url without padding (RFC 7515 section 2)")))?;
    json::object(&bytes).map_err(|error| NotAToken(format!("its {what} is not strict JSON: {error}")))
}

impl Decoded {
    /// Returns the claims as names and values, the most requested first.
    pub(super) fn pairs(&self, now: SystemTime) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        let mut add = |name: &str, value: Option<String>| {
            pairs.extend(value.map(|value| (name.to_owned(), value)));
        };
        add("Issuer", self.text("iss"));
        add("Subject", self.text("sub"));
        add("Client", self.text("client_id"));
        add("Audience", self.text("aud"));
        add("Scopes", self.text("scope"));
        add("Acting for it", self.actors());
        add("Issued", self.time("iat").map(|time| in_words(time, now)));
        add("Not before", self.time("nbf").map(|time| in_words(time, now)));
        add("Expires", self.time("exp").map(|time| in_words(time, now)));
        add("Token ID", self.text("jti"));
        let part = |name| self.header.get(name).map(shown);
        let key = part("kid").map_or_else(|| "an unnamed key".to_owned(), |kid| format!("key {kid}"));
        add("Signed", part("alg").map(|algorithm| format!("{algorithm}, {key}")));
        add("Type", part("typ"));
        for (name, value) in self.claims.iter().filter(|(name, _)| !TOLD.contains(&name.as_str())) {
            add(name, Some(shown(value)));
        }
        pairs
    }

    /// Returns the peculiarities that may fail at a verifier, or that an operator should know. RFC 9068
    /// section 4.
    pub(super) fn oddities(&self, now: SystemTime) -> Vec<String> {
        let mut oddities = Vec::new();
        match self.header.get("typ").and_then(Value::as_str) {
            Some("at+jwt" | "application/at+jwt") => {}
            Some(other) => oddities.push(format!("its type is {other}, not at+jwt (RFC 9068 section 2.1)")),
            None => oddities.push("it has no type (`typ`); an access token says at+jwt".to_owned()),
        }
        if self.header.get("alg").and_then(Value::as_str) == Some("none") {
            oddities.push("it is not signed at all (alg none): every verifier rejects it".to_owned());
        }
        for name in ["crit", "jwk", "jku", "x5u"] {
            if self.header.contains_key(name) {
                oddities.push(format!("its header has `{name}`, which verifiers reject"));
            }
        }
        for name in ["iss", "sub", "aud", "client_id", "exp", "iat", "jti"] {
            if !self.claims.contains_key(name) {
                oddities.push(format!("it has no `{name}` (RFC 9068 section 2.2)"));
            }
        }
        self.odd_times(now, &mut oddities);
        oddities
    }

    fn odd_times(&self, now: SystemTime, oddities: &mut Vec<String>) {
        for name in ["exp", "iat", "nbf"] {
            if self.claims.get(name).is_some_and(|value| seconds(value).is_none()) {
                oddities.push(format!("its `{name}` is not a number of seconds"));
            }
        }
        if self.time("exp").is_some_and(|expires| expires <= now) {
            oddities.push("it has expired".to_owned());
        }
        for name in ["iat", "nbf"] {
            if self.time(name).is_some_and(|time| time > now + SKEW) {
                oddities.push(format!("its `{name}` is in the future: a clock is wrong, here or at the issuer"));
            }
        }
        let lifetime =
            |from: &str| Some(seconds(self.claims.get("exp")?)?.saturating_sub(seconds(self.claims.get(from)?)?));
        if lifetime("iat").is_some_and(|lifetime| lifetime > LONG) {
            oddities.push("it lives longer than a day".to_owned());
        }
    }

    fn text(&self, claim: &str) -> Option<String> {
        self.claims.get(claim).map(shown)
    }

    fn time(&self, claim: &str) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds(self.claims.get(claim)?)?))
    }

    /// Returns the actors, the current one first. RFC 8693 section 4.1.
    fn actors(&self) -> Option<String> {
        let mut chain = Vec::new();
        let mut next = self.claims.get("act");
        while let Some(actor) = next {
            chain.push(actor.get("sub").map_or_else(|| "unnamed".to_owned(), shown));
            next = actor.get("act");
        }
        if chain.is_empty() { None } else { Some(chain.join(", for ")) }
    }
}

/// Reads a NumericDate, which may have a fraction. RFC 7519 section 2.
fn seconds(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn whole(number: f64) -> Option<u64> {
    Duration::try_from_secs_f64(number).ok().map(|duration| duration.as_secs())
}

/// Returns text without quotes, a list of texts separated by spaces, everything else as JSON.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    // A token may come from a stranger: its text must not control the terminal.
    printable(&text)
}

/// A time of day, and its distance from now.
pub(super) fn in_words(time: SystemTime, now: SystemTime) -> String {
    let relative = relative(time, now, |seconds| humantime::format_duration(Duration::from_secs(seconds)).to_string());
    format!("{} ({relative})", absolute(time))
}

/// The distance from now in seconds, as `shown`, with its direction.
fn relative(time: SystemTime, now: SystemTime, shown: impl Fn(u64) -> String) -> String {
    match time.duration_since(now) {
        Ok(ahead) => format!("in {}", shown(ahead.as_secs())),
        Err(behind) => format!("{} ago", shown(behind.duration().as_secs())),
    }
}

/// The distance from now in its greatest unit, rounded down: `in 6 days`, `3 hours ago`.
pub(super) fn distance(time: SystemTime, now: SystemTime) -> String {
    const UNITS: [(&str, u64); 3] = [("day", 86_400), ("hour", 3_600), ("minute", 60)];
    relative(time, now, |distance| {
        let greatest = UNITS.into_iter().find(|(_, seconds)| distance >= *seconds);
        let (unit, seconds) = greatest.unwrap_or(("second", 1));
        let count = distance / seconds;
        format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
    })
}

/// A time of day.
pub(super) fn absolute(time: SystemTime) -> String {
    // Years beyond 9999 have no such form.
    let year_10000 = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800);
    if time >= year_10000 {
        "after the year 9999".to_owned()
    } else {
        humantime::format_rfc3339_seconds(time).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    const GOOD: &str = r#"{"iss":"https://i","sub":"orders","client_id":"orders","aud":"inventory","scope":"a b","iat":1000,"exp":1300,"jti":"t1"}"#;

    #[test]
    fn a_distance_has_one_unit() {
        for (seconds, expected) in [
            (1_000_000 + 6 * 86_400 + 80_000, "in 6 days"),
            (1_000_000 + 86_400, "in 1 day"),
            (1_000_000 + 7_199, "in 1 hour"),
            (1_000_000, "in 0 seconds"),
            (1_000_000 - 1, "1 second ago"),
            (1_000_000 - 150, "2 minutes ago"),
            (0, "11 days ago"),
        ] {
            assert_eq!(distance(at(seconds), at(1_000_000)), expected);
        }
    }

    #[test]
    fn tells_times_in_words() {
        let decoded = decode(&token(r#"{"typ":"at+jwt","alg":"ES256","kid":"k1"}"#, GOOD)).unwrap();
        let pairs = decoded.pairs(at(1090));
        let find = |name: &str| pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()).unwrap();
        assert_eq!(find("Issued"), "1970-01-01T00:16:40Z (1m 30s ago)");
        assert_eq!(find("Expires"), "1970-01-01T00:21:40Z (in 3m 30s)");
        assert_eq!(find("Signed"), "ES256, key k1");
        assert_eq!(decoded.oddities(at(1090)), Vec::<String>::new());
    }

    #[test]
    fn warns_of_each_oddity() {
        let claims = r#"{"iss":"https://i","aud":"a","iat":9000,"exp":"soon","act":{"sub":"a","act":{"sub":"b"}}}"#;
        let decoded = decode(&token(r#"{"alg":"none","crit":["x"],"typ":"JWT"}"#, claims)).unwrap();
        let oddities = decoded.oddities(at(1000)).join("\n");
        for expected in [
            "type is JWT",
            "not signed at all",
            "`crit`",
            "no `sub`",
            "no `jti`",
            "`exp` is not a number",
            "`iat` is in the future",
        ] {
            assert!(oddities.contains(expected), "{expected} not in {oddities}");
        }
        assert!(decoded.pairs(at(0)).contains(&("Acting for it".into(), "a, for b".into())));
    }

    #[test]
    fn warns_of_an_expired_and_of_a_long_lived_token() {
        let claims = GOOD.replace("1300", "100000");
        let decoded = decode(&token(r#"{"typ":"at+jwt","alg":"ES256"}"#, &claims)).unwrap();
        assert_eq!(decoded.oddities(at(100_000)), ["it has expired", "it lives longer than a day"]);
    }

    #[test]
    fn says_why_a_text_is_not_a_token() {
        let why = |text: &str| decode(text).unwrap_err().to_string();
        assert!(why("abc").contains("opaque"));
        assert!(why("a.b").contains("2 parts"));
        assert!(why("a.b.c").contains("header is not base64url"));
        assert!(why(&token("{}", r#"{"a":1,"a":2}"#)).contains("claims is not strict JSON"));
        assert!(
            why(&format!("{}.a.b.c.d", URL_SAFE_NO_PAD.encode(r#"{"kid":"k9"}"#)))
                .contains("encrypted (JWE) to the key k9")
        );
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let decoded = decode(&token("{}", r#"{"sub":"a\u001b[31mb"}"#)).unwrap();
        assert!(decoded.pairs(at(0)).contains(&("Subject".into(), "a\\u{1b}[31mb".into())));
    }

    #[test]
    fn absurd_times_do_not_panic() {
        for number in ["1e300", "-5", "18446744073709551615", "253402300800", "1.5"] {
            let decoded = decode(&token("{}", &format!(r#"{{"exp":{number},"iat":{number}}}"#))).unwrap();
            let _ = (decoded.pairs(at(0)), decoded.oddities(at(0)));
        }
    }
}
