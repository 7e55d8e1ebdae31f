//! The requirement of a method, compared with a verified token.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use token_proto::policy::Requirement;

use super::matches;
use crate::{
    clock::numeric_date,
    error::{Denial, Denied, Detail, kind_of, quoted},
    json,
    token::VerifiedToken,
};

/// Returns an error unless `token` meets `requirement` at `now`. `leeway` is added to `max_token_age`.
pub(crate) fn check(
    requirement: &Requirement,
    token: &VerifiedToken,
    now: SystemTime,
    leeway: Duration,
) -> Result<(), Denied> {
    let mut missing: Vec<_> = requirement.all_scopes.iter().filter(|scope| !token.has_scope(scope)).cloned().collect();
    let any = &requirement.any_scopes;
    if !any.is_empty() && !any.iter().any(|scope| token.has_scope(scope)) {
        missing.extend(any.iter().cloned());
    }
    if !missing.is_empty() {
        return Err(lacks_scopes(requirement, token, missing));
    }
    let callers = &requirement.callers;
    let is_named = || callers.iter().any(|pattern| matches(pattern, token.client_id()));
    let allowed = callers.is_empty() || (token.checked().client_id_is_unique && is_named());
    if !allowed {
        return Err(not_among(callers, token));
    }
    for required in requirement.claims.iter() {
        let came = json::member(token.claims(), &required.claim);
        if let Some(fault) = required.fault() {
            return Err(
                Denial::ClaimNotAllowed(Detail::new(required.claim.clone(), kind_of(came), fault).into()).into()
            );
        }
        if !came.is_some_and(|value| is_allowed(value, &required.values)) {
            let expected = format!("one of {:?}", required.values);
            let detail = Detail::new(required.claim.clone(), kind_of(came), expected);
            return Err(Denial::ClaimNotAllowed(detail.into()).into());
        }
    }
    if let Some(age) = requirement.max_token_age {
        let latest = token.checked().issued_at.saturating_add(age.as_secs()).saturating_add(leeway.as_secs());
        if numeric_date(now) > latest {
            return Err(too_old(age, token, now, leeway));
        }
    }
    Ok(())
}

fn lacks_scopes(requirement: &Requirement, token: &VerifiedToken, missing: Vec<Cow<'static, str>>) -> Denied {
    let (all, any) = (&requirement.all_scopes, &requirement.any_scopes);
    let expected = match (all.is_empty(), any.is_empty()) {
        (false, false) => format!("all of {all:?} and one of {any:?}"),
        (false, true) => format!("all of {all:?}"),
        (true, _) => format!("one of {any:?}"),
    };
    let came: Vec<&str> = token.scopes().collect();
    let detail = Detail::new("scope", quoted(&came.join(" ")), expected).into();
    Denial::ScopeInsufficient { missing, detail }.into()
}

fn not_among(callers: &[Cow<'static, str>], token: &VerifiedToken) -> Denied {
    let expected = if token.checked().client_id_is_unique {
        format!("one of {callers:?}")
    } else {
        format!("one of {callers:?}, of an issuer with clients of its own: several issuers speak for this audience")
    };
    Denial::CallerNotAllowed(Detail::new("client_id", quoted(token.client_id()), expected).into()).into()
}

/// Returns the denial of a token that was issued longer ago than `age`.
pub(crate) fn too_old(age: Duration, token: &VerifiedToken, now: SystemTime, leeway: Duration) -> Denied {
    let (issued_at, now) = (token.checked().issued_at, numeric_date(now));
    let earliest = now.saturating_sub(age.as_secs()).saturating_sub(leeway.as_secs());
    let expected =
        format!("at least {earliest} (now {now}, maximum age {}, leeway {})", age.as_secs(), leeway.as_secs());
    Denial::TokenTooOld(Detail::new("iat", issued_at.to_string(), expected).into()).into()
}

/// Returns true if the claim is one of the allowed strings, or a list that contains one.
fn is_allowed(value: &Value, allowed: &[Cow<'static, str>]) -> bool {
    let is_one = |value: &Value| value.as_str().is_some_and(|text| allowed.iter().any(|allowed| *allowed == text));
    match value {
        Value::Array(items) => items.iter().any(is_one),
        Value::String(_) => is_one(value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}
