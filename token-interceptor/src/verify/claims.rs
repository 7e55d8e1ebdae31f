//! Claims and their types: RFC 9068 section 2.2, RFC 7519 section 4.1, RFC 8693 section 4.1.
//!
//! RFC 9068 requires `iss sub client_id aud exp iat jti`; a token without one of them, or with one of another
//! type, is refused. An identity provider's own tokens are let off `client_id` and `jti`, and nothing else. Times are whole, non-negative numbers: a string or a fraction is what one parser reads
//! and the next one rounds.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{
    error::{Unverified, VerifyError},
    token::{Actor, AtHand, Claims},
};

/// The last second of the year 9999, as in `google.protobuf.Timestamp`: beyond it arithmetic goes wrong.
const TIME_MAX: u64 = 253_402_300_799;

/// Whom a token is from and what it is called: RFC 9068 section 2.2.
const NAMES: [&str; 3] = ["sub", "client_id", "jti"];

/// What of them a token must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// All: RFC 9068 section 2.2.
    AccessToken,
    /// `sub` alone, as in an ID token: OpenID Connect Core section 2.
    Identity,
}

/// Checks every claim that has a meaning here.
pub(super) fn check(members: Map<String, Value>, issuer: Arc<str>, profile: Profile) -> Result<Claims, VerifyError> {
    for name in NAMES {
        if profile == Profile::AccessToken || name == "sub" || members.contains_key(name) {
            text(&members, name)?;
        }
    }
    match members.get("aud") {
        Some(Value::String(one)) if !one.is_empty() => {}
        Some(Value::Array(several)) if !several.is_empty() && several.iter().all(Value::is_string) => {}
        _ => return Err(malformed("aud is neither a string nor strings")),
    }
    if members.get("scope").is_some_and(|scope| !scope.is_string()) {
        return Err(malformed("scope is not a string"));
    }
    // RFC 8705 section 3, RFC 9449 section 7.1: as a mere bearer token it would be worth stealing again.
    if members.contains_key("cnf") {
        return Err(Unverified::SenderConstrained.into());
    }
    Ok(Claims {
        issuer,
        expires_at: time(&members, "exp")?.ok_or(malformed("it has no exp"))?,
        issued_at: time(&members, "iat")?.ok_or(malformed("it has no iat"))?,
        not_before: time(&members, "nbf")?,
        actors: actors(members.get("act"))?,
        at_hand: AtHand::of(&members),
        members,
    })
}

/// A claim that must be there, as text that says something.
pub(super) fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, VerifyError> {
    members
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .ok_or(malformed("a required claim is missing or is not text"))
}

fn time(members: &Map<String, Value>, name: &str) -> Result<Option<u64>, VerifyError> {
    let Some(value) = members.get(name) else { return Ok(None) };
    let seconds = value.as_u64().filter(|seconds| *seconds <= TIME_MAX);
    seconds.map(Some).ok_or(malformed("a time is not a whole number of seconds"))
}

/// The current actor first. The depth is bounded by that of the JSON.
fn actors(mut act: Option<&Value>) -> Result<Vec<Actor>, VerifyError> {
    let mut actors = Vec::new();
    while let Some(actor) = act {
        let Value::Object(members) = actor else { return Err(malformed("act is not an object")) };
        let optional = |name: &str| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(malformed("a member of act is not text")),
        };
        actors.push(Actor::new(text(members, "sub")?.to_owned(), optional("client_id")?, optional("iss")?));
        act = members.get("act");
    }
    Ok(actors)
}

fn malformed(fault: &'static str) -> VerifyError {
    Unverified::Malformed(fault).into()
}
