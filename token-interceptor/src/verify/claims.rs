//! Claims and their types, read by the profile of their issuer: RFC 9068 section 2.2, RFC 7519 section 4.1,
//! RFC 8693 section 4.1.
//!
//! RFC 9068 requires `iss sub client_id aud exp iat jti`. An access token that lacks one of them, or has one
//! of another type, is rejected. Its times are whole, non-negative numbers, as two parsers may round a
//! fraction differently; this project's issuer never writes one.
//!
//! For tokens of other makers the rules of RFC 7519 apply. Their times may have a fraction (section 2), which
//! is rounded towards rejection. Negative times, and times after the year 9999, are rejected everywhere.
//! Claims that decide nothing here count as missing if their type is wrong.

use std::{borrow::Cow, sync::Arc};

use serde_json::{Map, Value};

use super::profile::{Form, NamedBy, Place, TokenProfile, spiffe::trust_domain_of};
use crate::{
    clock::{NUMERIC_DATE_MAX, numeric_date_of},
    error::{Unverified, VerifyError, kind_of, quoted},
    token::{Actor, AtHand, Claims},
};

/// Checks every claim that has a meaning here.
pub(super) fn check(
    members: Map<String, Value>,
    issuer: Arc<str>,
    profile: &TokenProfile,
) -> Result<Claims, VerifyError> {
    let subject = text(&members, "sub")?;
    if profile.issuer == NamedBy::TrustDomain && trust_domain_of(subject) != Some(&*issuer) {
        return Err(Unverified::IssuerUnknown.about("sub", kind_of(members.get("sub")), format!("{issuer}/…")));
    }
    let at_hand = at_hand(&members, profile)?;
    if let Some(rule) = profile.rules.iter().find(|rule| !rule.is_met(&members)) {
        let value = rule.place.of(&members);
        let came = value.and_then(Value::as_str).map_or_else(|| kind_of(value), quoted);
        let one_of = if rule.required { "one of" } else { "none of" };
        let expected = format!("{one_of} {:?}", rule.texts);
        return Err(Unverified::ClaimNotAllowed.about(rule.place.name(), came, expected));
    }
    // RFC 8705 section 3, RFC 9449 section 7.1. Accepting it as a bearer token would defeat the binding.
    if members.contains_key("cnf") {
        return Err(Unverified::SenderConstrained.about("cnf", "a value".to_owned(), "no such claim"));
    }
    let expires_at = time(&members, "exp", profile, Round::Down)?;
    let issued_at = match profile.form {
        Form::Rfc9068 => time(&members, "iat", profile, Round::Down)?,
        // RFC 7519 section 4.1.6: it decides nothing. A token without one counts as older than any limit on
        // its age.
        Form::Rfc7519 => time(&members, "iat", profile, Round::Down).ok().flatten().or(Some(0)),
    };
    Ok(Claims {
        issuer,
        expires_at: expires_at.ok_or_else(|| malformed("it has no exp", "exp", None, "a time"))?,
        issued_at: issued_at.ok_or_else(|| malformed("it has no iat", "iat", None, "a time"))?,
        not_before: time(&members, "nbf", profile, Round::Up)?,
        actors: actors(members.get("act"), profile)?,
        at_hand,
        client_id_is_unique: true,
        members,
    })
}

/// Reads the values that the profile says where to find.
fn at_hand(members: &Map<String, Value>, profile: &TokenProfile) -> Result<AtHand, VerifyError> {
    let client_id = match &profile.client {
        Some(place) => required(members, place)?,
        None => optional(members, &Place::from("client_id")),
    };
    let token_id = match profile.token_id_required {
        true => required(members, &profile.token_id)?,
        false => optional(members, &profile.token_id),
    };
    Ok(AtHand {
        client_id: client_id.into(),
        token_id: token_id.into(),
        scope: scope(members, profile)?,
        audiences: audiences(members, &profile.audience)?,
    })
}

/// RFC 6749 section 3.3: text. Other issuers write a list, or another type, which grants nothing.
fn scope(members: &Map<String, Value>, profile: &TokenProfile) -> Result<Box<str>, VerifyError> {
    let present = profile.scopes.iter().find_map(|place| Some((place, place.of(members)?)));
    Ok(match present {
        None => "".into(),
        Some((_, Value::String(scope))) => scope.as_str().into(),
        Some((place, other)) if profile.form == Form::Rfc9068 => {
            return Err(malformed("scope is not a string", place.name(), Some(other), "a string"));
        }
        Some((_, Value::Array(names))) => {
            // One name with a space is not two scopes.
            let names = names.iter().filter_map(Value::as_str).filter(|name| !name.contains(' '));
            names.collect::<Vec<_>>().join(" ").into()
        }
        Some(_) => "".into(),
    })
}

/// RFC 7519 section 4.1.3: one string, or several.
fn audiences(members: &Map<String, Value>, place: &Place) -> Result<Box<[Box<str>]>, VerifyError> {
    let value = place.of(members);
    let several = match value {
        Some(Value::String(one)) if !one.is_empty() => Some(vec![one.as_str().into()]),
        Some(Value::Array(several)) if !several.is_empty() => {
            several.iter().map(|one| one.as_str().map(Into::into)).collect::<Option<Vec<_>>>()
        }
        _ => None,
    };
    let fault = "the audience is neither a string nor strings";
    several.map(Into::into).ok_or_else(|| malformed(fault, place.name(), value, "a string or strings"))
}

/// Returns a required claim, as text that is not empty.
pub(super) fn text<'a>(members: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, VerifyError> {
    required(members, &Place::from(name))
}

fn required<'a>(members: &'a Map<String, Value>, place: &Place) -> Result<&'a str, VerifyError> {
    let value = place.of(members);
    value
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| malformed("a required claim is missing or is not text", place.name(), value, "text"))
}

/// Returns a claim that decides nothing; empty if it is missing or not text.
fn optional<'a>(members: &'a Map<String, Value>, place: &Place) -> &'a str {
    place.of(members).and_then(Value::as_str).unwrap_or_default()
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
    profile: &TokenProfile,
    round: Round,
) -> Result<Option<u64>, VerifyError> {
    let Some(value) = members.get(name) else { return Ok(None) };
    let whole = value.as_u64().or_else(|| fraction(value, round).filter(|_| profile.is_foreign()));
    let seconds = whole.filter(|seconds| *seconds <= NUMERIC_DATE_MAX);
    seconds.map(Some).ok_or_else(|| {
        let expected = match profile.form {
            Form::Rfc9068 => "a whole number of seconds since 1970",
            Form::Rfc7519 => "seconds since 1970",
        };
        let came = if value.is_number() { value.to_string() } else { kind_of(Some(value)) };
        Unverified::Malformed("a time is not a whole number of seconds").about(name, came, expected)
    })
}

/// RFC 7519 section 2: a NumericDate may have a fraction.
fn fraction(value: &Value, round: Round) -> Option<u64> {
    numeric_date_of(value.as_f64()?, matches!(round, Round::Up))
}

/// Returns the actors, the current one first. The depth is bounded by that of the JSON.
fn actors(mut act: Option<&Value>, profile: &TokenProfile) -> Result<Vec<Actor>, VerifyError> {
    if profile.is_foreign() && !act.is_some_and(Value::is_object) {
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

fn malformed(
    fault: &'static str,
    name: impl Into<Cow<'static, str>>,
    came: Option<&Value>,
    expected: &'static str,
) -> VerifyError {
    Unverified::Malformed(fault).about(name, kind_of(came), expected)
}
