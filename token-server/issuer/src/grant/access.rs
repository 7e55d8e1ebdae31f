//! Audiences and scopes: requested ∩ registered, or an error that names the missing one.
//!
//! RFC 6749 section 3.3, RFC 8707 section 2.

use std::{borrow::Cow, collections::BTreeSet, time::Duration};

use super::Access;
use crate::{
    client::{Audience, Grant, Scope},
    error::IssueError,
};

/// The most audiences in one token.
const AUDIENCES_MAX: usize = 16;
/// The most scopes in one request.
const SCOPES_MAX: usize = 256;

/// The access that a request asks for, under any grant.
#[derive(Debug, Default)]
pub struct RequestedAccess {
    /// The requested audiences. Empty means the client's only audience, or the only one that has all of the
    /// scopes.
    pub audiences: Vec<RequestedAudience>,
    /// The requested scopes. Empty means the client's default scopes.
    pub scopes: Vec<String>,
    /// The requested lifetime, never guaranteed.
    pub lifetime: Option<Duration>,
}

/// A resource server by the parameter that named it.
///
/// Exhaustive: the grant must resolve a new parameter before it compiles.
#[derive(Debug)]
pub enum RequestedAudience {
    /// `audience`: any name. RFC 8693 section 2.1.
    Name(String),
    /// `resource`: an absolute URI without a fragment. RFC 8707 section 2.
    Resource(String),
}

/// Decides the part of `requested` that a holder of `grants` gets.
///
/// A token is valid at each of its audiences with all of its scopes (RFC 8707 section 2: "the cartesian
/// product of all the scopes at all the target services"). With several audiences, a scope must therefore be
/// registered at each one. Otherwise `read`, registered at one resource server, would open another that uses
/// the same word.
pub(super) fn authorize(grants: &[Grant], requested: &RequestedAccess) -> Result<Access, IssueError> {
    let grants = match (&*requested.audiences, &*requested.scopes) {
        ([], [_, ..]) if grants.len() > 1 => vec![chosen_by_scopes(grants, &requested.scopes)?],
        (named, _) => audiences(grants, named)?,
    };
    let scopes = scopes(&grants, &requested.scopes)?;
    let audiences = grants.iter().map(|grant| grant.audience.clone()).collect();
    Ok(Access { audiences, scopes })
}

fn audiences<'a>(granted: &'a [Grant], requested: &[RequestedAudience]) -> Result<Vec<&'a Grant>, IssueError> {
    if granted.is_empty() {
        return Err(IssueError::ClientNotAuthorized("The client is not registered for any audience."));
    }
    if requested.is_empty() {
        return match granted {
            [only] => Ok(vec![only]),
            several => Err(several_to_choose_from(several)),
        };
    }
    if requested.len() > AUDIENCES_MAX {
        return Err(IssueError::InvalidTarget(Cow::Borrowed("Too many audiences.")));
    }
    let mut grants: Vec<&Grant> = Vec::with_capacity(requested.len());
    for audience in requested {
        let name = audience.name()?;
        let grant = granted.iter().find(|grant| grant.audience.as_str() == name).ok_or_else(|| audience.refused())?;
        if !grants.iter().any(|known| known.audience == grant.audience) {
            grants.push(grant);
        }
    }
    Ok(grants)
}

/// Returns the only grant that has all of the scopes, for callers that name no audience. This widens nothing,
/// because the caller could have named it.
fn chosen_by_scopes<'a>(granted: &'a [Grant], scopes: &[String]) -> Result<&'a Grant, IssueError> {
    if scopes.len() > SCOPES_MAX {
        return Err(IssueError::InvalidScope(Cow::Borrowed("Too many scopes.")));
    }
    let has_all = |grant: &&Grant| scopes.iter().all(|scope| grant.scopes.contains(scope.as_str()));
    let mut fitting = granted.iter().filter(has_all);
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Ok(only),
        (None, _) | (Some(_), Some(_)) => Err(several_to_choose_from(granted)),
    }
}

fn several_to_choose_from(granted: &[Grant]) -> IssueError {
    IssueError::InvalidTarget(Cow::Owned(format!(
        "There are several audiences to choose from; name one of: {}.",
        list(granted.iter().map(|grant| &grant.audience))
    )))
}

impl RequestedAudience {
    /// Returns the audience as the request names it, well-formed or not.
    pub(super) fn as_given(&self) -> &str {
        let (Self::Name(name) | Self::Resource(name)) = self;
        name
    }

    fn name(&self) -> Result<&str, IssueError> {
        match self {
            Self::Name(name) => Ok(name),
            Self::Resource(uri) if is_absolute_without_fragment(uri) => Ok(uri),
            Self::Resource(_) => Err(IssueError::InvalidTarget(Cow::Borrowed(
                "resource must be an absolute URI without a fragment; name other audiences by the parameter audience.",
            ))),
        }
    }

    /// Returns the error, which does not reveal if another client could have the audience.
    fn refused(&self) -> IssueError {
        let (Self::Name(name) | Self::Resource(name)) = self;
        IssueError::InvalidTarget(match Audience::try_from(name.as_str()) {
            Ok(audience) => Cow::Owned(format!("The client may not have the audience {audience}.")),
            Err(_) => Cow::Borrowed("An audience is malformed."),
        })
    }
}

fn is_absolute_without_fragment(uri: &str) -> bool {
    !uri.contains('#') && url::Url::parse(uri).is_ok()
}

fn scopes(grants: &[&Grant], requested: &[String]) -> Result<Vec<Scope>, IssueError> {
    if requested.is_empty() {
        let defaults = common(grants, |grant| &grant.default_scopes);
        return if defaults.is_empty() { Err(no_defaults(grants)) } else { Ok(defaults) };
    }
    if requested.len() > SCOPES_MAX {
        return Err(IssueError::InvalidScope(Cow::Borrowed("Too many scopes.")));
    }
    let mut scopes: Vec<Scope> = Vec::with_capacity(requested.len());
    for name in requested {
        let scope = registered(grants, name)?;
        if !scopes.contains(scope) {
            scopes.push(scope.clone());
        }
    }
    Ok(scopes)
}

fn no_defaults(grants: &[&Grant]) -> IssueError {
    let several = grants.len() > 1 && grants.iter().any(|grant| !grant.default_scopes.is_empty());
    IssueError::InvalidScope(if several {
        Cow::Owned(format!(
            "The client has no default scope that the audiences {} have in common; name scopes that all of them have, \
             or request a token for each.",
            list(grants.iter().map(|grant| &grant.audience))
        ))
    } else {
        Cow::Borrowed("No scope was requested, and the client has no default scopes.")
    })
}

/// Returns the registered scope with that name.
fn registered<'a>(grants: &[&'a Grant], name: &str) -> Result<&'a Scope, IssueError> {
    let mut found = None;
    for grant in grants {
        match grant.scopes.get(name) {
            Some(scope) => found = Some(scope),
            None => return Err(unregistered(grant, name)),
        }
    }
    // There is always a grant. Without one, the scope would not be registered.
    found.ok_or(IssueError::InvalidScope(Cow::Borrowed("A scope is malformed.")))
}

fn unregistered(grant: &Grant, name: &str) -> IssueError {
    IssueError::InvalidScope(match Scope::try_from(name) {
        Ok(scope) => {
            Cow::Owned(format!("The client may not have the scope {scope} at the audience {}.", grant.audience))
        }
        Err(_) => Cow::Borrowed("A scope is malformed."),
    })
}

fn common(grants: &[&Grant], of: impl Fn(&Grant) -> &BTreeSet<Scope>) -> Vec<Scope> {
    let Some((first, rest)) = grants.split_first() else { return Vec::new() };
    of(first).iter().filter(|scope| rest.iter().all(|grant| of(grant).contains(*scope))).cloned().collect()
}

fn list<'a>(audiences: impl Iterator<Item = &'a Audience>) -> String {
    audiences.map(Audience::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::client::{Client, ClientId};

    fn grant(audience: &str, scopes: &[&str], defaults: &[&str]) -> Grant {
        let set = |names: &[&str]| names.iter().map(|name| Scope::try_from(*name).unwrap()).collect();
        Grant { audience: audience.try_into().unwrap(), scopes: set(scopes), default_scopes: set(defaults) }
    }

    fn client(grants: Vec<Grant>) -> Client {
        let mut client = Client::new(ClientId::try_from("orders").unwrap(), SystemTime::UNIX_EPOCH);
        client.grants = grants;
        client
    }

    fn ask(client: &Client, audiences: &[&str], scopes: &[&str]) -> Result<(Vec<String>, Vec<String>), IssueError> {
        let requested = RequestedAccess {
            audiences: audiences.iter().map(|name| RequestedAudience::Name((*name).to_owned())).collect(),
            scopes: scopes.iter().map(|name| (*name).to_owned()).collect(),
            lifetime: None,
        };
        let access = authorize(&client.grants, &requested)?;
        Ok((
            access.audiences.iter().map(ToString::to_string).collect(),
            access.scopes.iter().map(ToString::to_string).collect(),
        ))
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn one() -> Client {
        client(vec![grant("inventory", &["read", "write"], &["read"])])
    }

    fn two() -> Client {
        client(vec![grant("a", &["read", "only-a"], &["read", "only-a"]), grant("b", &["read"], &["read"])])
    }

    #[test]
    fn absent_audience_is_the_only_one_and_absent_scopes_are_the_defaults() {
        assert_eq!(ask(&one(), &[], &[]).unwrap(), (names(&["inventory"]), names(&["read"])));
    }

    #[test]
    fn grants_what_was_asked_for_and_nothing_more_in_the_order_asked() {
        let granted = ask(&one(), &["inventory"], &["write", "read", "write"]).unwrap();
        assert_eq!(granted, (names(&["inventory"]), names(&["write", "read"])));
    }

    #[test]
    fn absent_audience_of_several_names_the_choice() {
        let error = ask(&two(), &[], &[]).unwrap_err();
        assert!(matches!(error, IssueError::InvalidTarget(_)) && error.to_string().contains("a, b"), "{error}");
    }

    #[test]
    fn absent_audience_is_the_only_one_that_has_the_scopes() {
        assert_eq!(ask(&two(), &[], &["only-a"]).unwrap(), (names(&["a"]), names(&["only-a"])));
        assert_eq!(ask(&two(), &[], &["only-a", "read"]).unwrap(), (names(&["a"]), names(&["only-a", "read"])));
        // At both, at none, at one each, and one that is no scope.
        let split = client(vec![grant("a", &["one"], &[]), grant("b", &["two"], &[])]);
        for (client, scopes) in
            [(&two(), &["read"][..]), (&two(), &["delete"]), (&split, &["one", "two"]), (&split, &["one", "a b"])]
        {
            let error = ask(client, &[], scopes).unwrap_err();
            assert!(matches!(error, IssueError::InvalidTarget(_)) && error.to_string().contains("a, b"), "{error}");
        }
    }

    #[test]
    fn audiences_without_a_common_default_say_so() {
        let split = client(vec![grant("a", &["one"], &["one"]), grant("b", &["two"], &["two"])]);
        let error = ask(&split, &["a", "b"], &[]).unwrap_err();
        assert!(error.to_string().contains("a, b have in common"), "{error}");
        let without = client(vec![grant("a", &["one"], &[]), grant("b", &["two"], &[])]);
        let error = ask(&without, &["a", "b"], &[]).unwrap_err();
        assert_eq!(error.to_string(), "No scope was requested, and the client has no default scopes.");
    }

    #[test]
    fn rejects_an_audience_that_is_not_registered_and_names_it() {
        let error = ask(&one(), &["inventory", "billing"], &[]).unwrap_err();
        assert!(matches!(error, IssueError::InvalidTarget(_)) && error.to_string().contains("billing"), "{error}");
    }

    #[test]
    fn rejects_a_scope_that_is_not_registered_and_names_it() {
        let error = ask(&one(), &[], &["read", "delete"]).unwrap_err();
        assert!(matches!(error, IssueError::InvalidScope(_)) && error.to_string().contains("delete"), "{error}");
    }

    #[test]
    fn rejects_a_malformed_scope_without_repeating_it() {
        for scope in ["", "a b", "a\"b"] {
            let error = ask(&one(), &[], &[scope]).unwrap_err();
            assert!(matches!(error, IssueError::InvalidScope(_)), "{scope:?}");
            assert_eq!(error.to_string(), "A scope is malformed.");
        }
    }

    #[test]
    fn rejects_absent_scopes_without_defaults() {
        let client = client(vec![grant("inventory", &["read"], &[])]);
        assert!(matches!(ask(&client, &[], &[]), Err(IssueError::InvalidScope(_))));
    }

    #[test]
    fn client_without_grants_is_not_authorized() {
        assert!(matches!(ask(&client(vec![]), &[], &[]), Err(IssueError::ClientNotAuthorized(_))));
    }

    #[test]
    fn a_scope_of_several_audiences_must_be_registered_at_each() {
        assert_eq!(ask(&two(), &["a", "b", "a"], &["read"]).unwrap(), (names(&["a", "b"]), names(&["read"])));
        assert!(matches!(ask(&two(), &["a", "b"], &["only-a"]), Err(IssueError::InvalidScope(_))));
        assert_eq!(ask(&two(), &["a", "b"], &[]).unwrap().1, names(&["read"]));
    }

    /// RFC 8707 section 2.
    #[test]
    fn resource_must_be_an_absolute_uri_without_a_fragment() {
        let client = client(vec![grant("https://api.example/v1", &["read"], &["read"]), grant("inventory", &[], &[])]);
        let ask = |uri: &str| {
            let requested = RequestedAccess {
                audiences: vec![RequestedAudience::Resource(uri.to_owned())],
                ..RequestedAccess::default()
            };
            authorize(&client.grants, &requested)
        };
        assert!(ask("https://api.example/v1").is_ok());
        for uri in ["inventory", "/v1", "https://api.example/v1#x", "", "https://other.example"] {
            assert!(matches!(ask(uri), Err(IssueError::InvalidTarget(_))), "{uri}");
        }
    }

    #[test]
    fn rejects_more_audiences_or_scopes_than_a_token_could_hold() {
        let many: Vec<String> = (0..300).map(|n| format!("x{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(matches!(ask(&one(), &many, &[]), Err(IssueError::InvalidTarget(_))));
        assert!(matches!(ask(&one(), &[], &many), Err(IssueError::InvalidScope(_))));
    }
}
