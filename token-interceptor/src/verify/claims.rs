//! Claims and their types: RFC 9068 section 2.2, RFC 7519 section 4.1, RFC 8693 section 4.1.
//!
//! RFC 9068 requires `iss sub client_id aud exp iat jti`. An access token that lacks one of them, or has one
//! of another type, is rejected. Its times are whole, non-negative numbers, as two parsers may round a
//! fraction differently.
//!
//! For tokens of foreign issuers only the rules of RFC 7519 apply. Their times may have a fraction (section
//! 2), which is rounded towards rejection. Claims that decide nothing here count as missing if their type is
//! wrong.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{
    clock::{NUMERIC_DATE_MAX, numeric_date_of},
    error::{Unverified, VerifyError, kind_of},
    token::{Actor, AtHand, Claims},
};

/// The claims that name the token and its parties: RFC 9068 section 2.2.
const NAMES: [&str; 3] = ["sub", "client_id", "jti"];

/// The rules for the claims of one issuer's tokens.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Profile {
    /// `client_id` and `jti` may be missing, as in an ID token: OpenID Connect Core section 2.
    pub(super) identity: bool,
    /// True for tokens of a foreign issuer: only RFC 7519 rules their form.
    pub(super) foreign: bool,
}

/// Checks every claim that has a meaning here.
pub(super) fn check(members: Map<String, Value>, issuer: Arc<str>, profile: Profile) -> Result<Claims, VerifyError> {
    for name in NAMES.into_iter().filter(|name| *name == "sub" || !profile.identity) {
        text(&members, name)?;
    }
    let audience = members.get("aud");
    match audience {
        Some(Value::String(one)) if !one.is_empty() => {}
        Some(Value::Array(several)) if !several.is_empty() && several.iter().all(Value::is_string) => {}
        other => return Err(malformed("aud is neither a string nor strings", "aud", other, "a string or strings")),
    }
    let scope = members.get("scope");
    if !profile.foreign && scope.is_some_and(|scope| !scope.is_string()) {
        return Err(malformed("scope is not a string", "scope", scope, "a string"));
    }
    // RFC 8705 section 3, RFC 9449 section 7.1. Accepting it as a bearer token would defeat the binding.
    if members.contains_key("cnf") {
        return Err(Unverified::SenderConstrained.about("cnf", "a value".to_owned(), "no such claim"));
    }
    let expires_at = time(&members, "exp", profile, Round::Down)?;
    let issued_at = if profile.foreign {
        // RFC 7519 section 4.1.6: it decides nothing. A token without one counts as older than any limit on
        // its age.
        time(&members, "iat", profile, Round::Down).ok().flatten().or(Some(0))
    } else {
        time(&members, "iat", profile, Round::Down)?
    };
    Ok(Claims {
        issuer,
        expires_at: expires_at.ok_or_else(|| malformed("it has no exp", "exp", None, "a time"))?,
        issued_at: issued_at.ok_or_else(|| malformed("it has no iat", "iat", None, "a time"))?,
        not_before: time(&members, "nbf", profile, Round::Up)?,
        actors: actors(members.get("act"), profile)?,
        at_hand: AtHand::of(&members),
        client_id_is_unique: true,
        members,
    })
}

/// Returns a required claim, as text that is not empty.
pub(super) fn text<'a>(members: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, VerifyError> {
    let value = members.get(name);
    value
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| malformed("a required claim is missing or is not text", name, value, "text"))
}

/// The direction in which a fraction of a second is rounded: the one that accepts less.
#[derive(Clone, Copy)]
enum Round {
    Down,
    Up,
}

fn time(
    members: &Map<String, Value>,
    name: &'static str,
    profile: Profile,
    round: Round,
) -> Result<Option<u64>, VerifyError> {
    let Some(value) = members.get(name) else { return Ok(None) };
    let whole = value.as_u64().or_else(|| fraction(value, round).filter(|_| profile.foreign));
    let seconds = whole.filter(|seconds| *seconds <= NUMERIC_DATE_MAX);
    seconds.map(Some).ok_or_else(|| {
        let expected = if profile.foreign { "seconds since 1970" } else { "a whole number of seconds since 1970" };
        let came = if value.is_number() { value.to_string() } else { kind_of(Some(value)) };
        Unverified::Malformed("a time is not a whole number of seconds").about(name, came, expected)
    })
}

/// RFC 7519 section 2: a NumericDate may have a fraction.
fn fraction(value: &Value, round: Round) -> Option<u64> {
    numeric_date_of(value.as_f64()?, matches!(round, Round::Up))
}

/// Returns the actors, the current one first. The depth is bounded by that of the JSON.
fn actors(mut act: Option<&Value>, profile: Profile) -> Result<Vec<Actor>, VerifyError> {
    if profile.foreign && !act.is_some_and(Value::is_object) {
        // A claim of that name, but not that of RFC 8693.
        return Ok(Vec::new());
    }
    let mut actors = Vec::new();
    while let Some(actor) = act {
        let Value::Object(members) = actor else {
            return Err(malformed("act is not an object", "act", act, "an object"));
        };
        let optional = |name: &'static str| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            other => Err(malformed("a member of act is not text", name, other, "text")),
        };
        actors.push(Actor::new(text(members, "sub")?.to_owned(), optional("client_id")?, optional("iss")?));
        act = members.get("act");
    }
    Ok(actors)
}

fn malformed(fault: &'static str, name: &'static str, came: Option<&Value>, expected: &'static str) -> VerifyError {
    Unverified::Malformed(fault).about(name, kind_of(came), expected)
}
