//! The token requests of each method, read from the policy table for the client side.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use token_proto::policy::{Access, MethodKind, MethodPolicy, Requirement};

use crate::source::TokenRequest;

/// The error of a name that matches no method of the policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} names no method of the policy that demands a token")]
pub struct UnknownMethod {
    pattern: String,
}

/// A map from a method's path to the needs of its calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Demands {
    methods: HashMap<Arc<str>, Demand>,
    /// The patterns of each [`Demands::share`]. They also name methods that are added later.
    shared: Vec<Vec<String>>,
    /// The patterns of [`Demands::never_replay`], likewise.
    never_replayed: Vec<String>,
}

/// The needs of one method's calls.
#[derive(Clone, Debug)]
pub(super) struct Demand {
    /// `None`: the calls need no token.
    pub(super) request: Option<TokenRequest>,
    pub(super) kind: MethodKind,
    /// True if the method accepts a call without a token too.
    pub(super) optional: bool,
    /// True if the program forbids to send the calls twice.
    pub(super) never_replayed: bool,
}

impl Demands {
    /// Adds each method by itself: its token permits that method and no more.
    pub(super) fn of_policy(&mut self, table: &[MethodPolicy]) {
        for method in table {
            let path: &str = &method.path;
            let request = match &method.access {
                // A token is not sent to a service whose policy does not ask for one.
                Access::Undeclared | Access::Public => None,
                Access::Identify => Some(asked_for(&method.audience, &Requirement::any_token())),
                Access::Require(requirement) => Some(asked_for(&method.audience, requirement)),
            };
            let optional = method.access == Access::Identify;
            let demand = Demand { request, kind: method.kind, optional, never_replayed: false };
            self.methods.insert(path.into(), demand);
        }
        self.apply_patterns();
    }

    /// Makes the methods that match `patterns` share one token for each audience, with the scopes of all of
    /// them.
    pub(super) fn share(&mut self, patterns: &[&str]) -> Result<(), UnknownMethod> {
        self.all_known(patterns)?;
        self.shared.push(patterns.iter().copied().map(str::to_owned).collect());
        self.apply_patterns();
        Ok(())
    }

    fn apply_patterns(&mut self) {
        for patterns in self.shared.clone() {
            self.unite(&patterns);
        }
        for (path, demand) in &mut self.methods {
            demand.never_replayed |= self.never_replayed.iter().any(|pattern| matches(pattern, path));
        }
    }

    fn unite(&mut self, patterns: &[String]) {
        let mut shared: HashMap<Option<Arc<str>>, TokenRequest> = HashMap::new();
        for request in self.named(patterns) {
            let audience = request.audience().map(Arc::from);
            let union = shared.remove(&audience).map_or_else(|| request.clone(), |union| union.union(request));
            shared.insert(audience, union);
        }
        for request in self.named(patterns) {
            if let Some(union) = shared.get(&request.audience().map(Arc::from)) {
                *request = union.clone();
            }
        }
    }

    /// Forbids that calls of the methods that match `patterns` are sent twice.
    pub(super) fn never_replay(&mut self, patterns: &[&str]) -> Result<(), UnknownMethod> {
        self.all_known(patterns)?;
        self.never_replayed.extend(patterns.iter().copied().map(str::to_owned));
        self.apply_patterns();
        Ok(())
    }

    fn all_known(&self, patterns: &[&str]) -> Result<(), UnknownMethod> {
        let demanding =
            |pattern: &&&str| self.iter().any(|(path, demand)| demand.request.is_some() && matches(pattern, path));
        match patterns.iter().find(|pattern| !demanding(pattern)) {
            Some(unknown) => Err(UnknownMethod { pattern: (*unknown).to_owned() }),
            None => Ok(()),
        }
    }

    fn named(&mut self, patterns: &[String]) -> impl Iterator<Item = &mut TokenRequest> {
        let named = move |path: &str| patterns.iter().any(|pattern| matches(pattern, path));
        self.methods.iter_mut().filter(move |(path, _)| named(path)).filter_map(|(_, demand)| demand.request.as_mut())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Demand)> {
        self.methods.iter()
    }
}

/// Matches a path, or the prefix of one before a `*`.
fn matches(pattern: &str, path: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == path, |prefix| path.starts_with(prefix))
}

/// Requests exactly what the method demands. Of alternative scopes it requests only the first, as one is
/// enough.
fn asked_for(audience: &str, requirement: &Requirement) -> TokenRequest {
    let all: BTreeSet<&str> = requirement.all_scopes.iter().map(AsRef::as_ref).collect();
    let any = requirement.any_scopes.first().map(AsRef::as_ref);
    let met = requirement.any_scopes.iter().any(|scope| all.contains(scope.as_ref()));
    let scopes = all.iter().copied().chain(any.filter(|_| !met));
    TokenRequest::for_audience(audience).with_scopes(scopes).with_max_age(requirement.max_token_age)
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, time::Duration};

    use super::*;

    fn method(path: &'static str, audience: &'static str, access: Access) -> MethodPolicy {
        MethodPolicy::new(path.into(), audience.into(), access, MethodKind::Unary)
    }

    fn require(all: &'static [Cow<'static, str>], any: &'static [Cow<'static, str>]) -> Access {
        Access::Require(
            Requirement::any_token().with_all_scopes(all.iter().cloned()).with_any_scopes(any.iter().cloned()),
        )
    }

    const READ: &[Cow<'static, str>] = &[Cow::Borrowed("read")];
    const WRITE: &[Cow<'static, str>] = &[Cow::Borrowed("write")];
    const EITHER: &[Cow<'static, str>] = &[Cow::Borrowed("admin"), Cow::Borrowed("read")];

    fn demands() -> Demands {
        let mut demands = Demands::default();
        demands.of_policy(&[
            method("/a.S/Read", "a", require(READ, &[])),
            method("/a.S/Write", "a", require(WRITE, &[])),
            method("/a.S/Either", "a", require(&[], EITHER)),
            method("/a.S/Met", "a", require(READ, EITHER)),
            method("/a.S/Public", "a", Access::Public),
            method("/a.S/Undeclared", "a", Access::Undeclared),
            method("/b.S/Read", "b", require(READ, &[])),
        ]);
        demands
    }

    fn asked(demands: &Demands, path: &str) -> Option<String> {
        demands.methods.get(path)?.request.as_ref().map(ToString::to_string)
    }

    #[test]
    fn each_method_asks_for_what_it_demands_and_no_more() {
        let demands = demands();
        assert_eq!(asked(&demands, "/a.S/Read").unwrap(), r#"audience "a", scopes "read""#);
        assert_eq!(asked(&demands, "/a.S/Write").unwrap(), r#"audience "a", scopes "write""#);
        assert_eq!(asked(&demands, "/b.S/Read").unwrap(), r#"audience "b", scopes "read""#);
    }

    #[test]
    fn of_scopes_of_which_any_will_do_one_is_asked_for() {
        assert_eq!(asked(&demands(), "/a.S/Either").unwrap(), r#"audience "a", scopes "admin""#);
        assert_eq!(asked(&demands(), "/a.S/Met").unwrap(), r#"audience "a", scopes "read""#);
    }

    #[test]
    fn methods_that_demand_none_have_no_token() {
        for path in ["/a.S/Public", "/a.S/Undeclared", "/grpc.health.v1.Health/Check"] {
            assert_eq!(asked(&demands(), path), None, "{path}");
        }
    }

    #[test]
    fn methods_that_share_have_one_token_for_each_audience() {
        let mut demands = demands();
        demands.share(&["/a.S/Read", "/a.S/Wri*", "/b.S/*"]).unwrap();
        assert_eq!(asked(&demands, "/a.S/Read").unwrap(), r#"audience "a", scopes "read write""#);
        assert_eq!(asked(&demands, "/a.S/Write"), asked(&demands, "/a.S/Read"));
        assert_eq!(asked(&demands, "/b.S/Read").unwrap(), r#"audience "b", scopes "read""#);
        assert_eq!(asked(&demands, "/a.S/Either").unwrap(), r#"audience "a", scopes "admin""#);
    }

    #[test]
    fn a_name_that_matches_nothing_is_an_error() {
        assert!(demands().share(&["/a.S/Raed"]).unwrap_err().to_string().contains("/a.S/Raed"));
        assert!(demands().share(&["/a.S/Public"]).is_err());
    }

    #[test]
    fn a_method_that_demands_a_young_token_asks_for_one() {
        let requirement = Requirement::any_token().with_max_token_age(Duration::from_secs(30));
        let mut demands = Demands::default();
        demands.of_policy(&[method("/a.S/Young", "a", Access::Require(requirement))]);
        assert_eq!(demands.methods["/a.S/Young"].request.as_ref().unwrap().max_age(), Some(Duration::from_secs(30)));
    }
}
