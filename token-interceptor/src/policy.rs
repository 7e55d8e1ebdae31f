//! The policy: `/package.Service/Method` → the demand. A method without a policy is denied.
//!
//! Paths are compared byte for byte, as the router compares them. Another spelling of a path (`//`, `%2e`,
//! another case) is another path, has no policy, and never reaches a handler.

mod requirement;
mod served;

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use quick_cache::DefaultHashBuilder;
use token_proto::policy::{Access, ClaimRequirement, MethodKind, MethodPolicy, Requirement};

pub(crate) use requirement::{check, too_old};
use served::Described;
pub use served::ServedPolicy;

use crate::danger;

/// The health methods, open by default: a monitoring probe has no token. Reflection is not open.
const HEALTH: [&str; 3] =
    ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List", "/grpc.health.v1.Health/Watch"];

/// The demands of every method of a server.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Only the program chooses the paths, so the hash need not resist attacks.
    methods: HashMap<Cow<'static, str>, Demand, DefaultHashBuilder>,
    /// Those of [`HEALTH`] that are open by default only. A declaration takes precedence.
    implied: BTreeSet<&'static str>,
}

/// The demand of one method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// No policy. Every call is denied.
    Undeclared,
    /// No token.
    Open,
    /// No token; but one that comes must be valid for the audience.
    Identify(Arc<TokenDemand>),
    /// A token for `audience` that meets `requirement`.
    Token(Arc<TokenDemand>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenDemand {
    pub(crate) audience: Cow<'static, str>,
    pub(crate) requirement: Requirement,
    pub(crate) kind: MethodKind,
}

impl Demand {
    pub(crate) fn token(&self) -> Option<&Arc<TokenDemand>> {
        match self {
            Self::Identify(demand) | Self::Token(demand) => Some(demand),
            Self::Open | Self::Undeclared => None,
        }
    }
}

impl Policy {
    /// Builds a policy from a table that `token_proto::include_policy!` includes.
    ///
    /// Health checks (`grpc.health.v1`) are open unless the table says otherwise; see
    /// [`Policy::without_public_health`]. Methods that the table holds without a policy are denied.
    ///
    /// # Errors
    ///
    /// Returns an error if the table contradicts itself. The error names every fault.
    pub fn new(table: &[MethodPolicy]) -> Result<Self, PolicyError> {
        let open = HEALTH.map(|path| (Cow::Borrowed(path), Demand::Open));
        Self { methods: open.into_iter().collect(), implied: HEALTH.into() }.and(table)
    }

    /// Adds the table of another package that the same server serves. A declaration of health checks counts
    /// as in the first.
    ///
    /// # Errors
    ///
    /// Returns an error if both tables declare a method differently.
    pub fn and(mut self, table: &[MethodPolicy]) -> Result<Self, PolicyError> {
        let mut faults = Vec::new();
        for method in table {
            let token = |requirement: Requirement| {
                let audience = method.audience.clone();
                Arc::new(TokenDemand { audience, requirement, kind: method.kind })
            };
            let demand = match &method.access {
                Access::Undeclared => {
                    self.methods.entry(method.path.clone()).or_insert(Demand::Undeclared);
                    continue;
                }
                Access::Public => Demand::Open,
                Access::Identify => Demand::Identify(token(Requirement::any_token())),
                Access::Require(requirement) => {
                    let claims = requirement.claims.iter().filter_map(ClaimRequirement::fault);
                    faults.extend(claims.map(|fault| format!("{}: {fault}", method.path)));
                    Demand::Token(token(requirement.clone()))
                }
            };
            if method.audience.is_empty() && demand.token().is_some() {
                faults.push(format!("{}: has no audience", method.path));
            }
            if !is_method_path(&method.path) {
                faults.push(format!("{:?}: is not /package.Service/Method", method.path));
            }
            let implied = self.implied.remove(&*method.path);
            match self.methods.insert(method.path.clone(), demand.clone()) {
                Some(before) if before != demand && before != Demand::Undeclared && !implied => {
                    faults.push(format!("{}: is declared twice, with different policies", method.path));
                }
                Some(_) | None => {}
            }
        }
        PolicyError::or(faults, self)
    }

    /// Opens one method to all callers, in spite of the table: `/package.Service/Method`.
    ///
    /// # Errors
    ///
    /// Returns an error if `path` is not of that form.
    pub fn open(mut self, path: impl Into<Cow<'static, str>>) -> Result<Self, PolicyError> {
        let path = path.into();
        if !is_method_path(&path) {
            return PolicyError::or(vec![format!("{path:?}: is not /package.Service/Method")], self);
        }
        self.implied.remove(&*path);
        self.methods.insert(path, Demand::Open);
        Ok(self)
    }

    /// Opens health checks (`grpc.health.v1`) to all callers, in spite of the tables.
    #[must_use]
    pub fn with_public_health(mut self) -> Self {
        self.implied.clear();
        self.methods.extend(HEALTH.map(|path| (Cow::Borrowed(path), Demand::Open)));
        self
    }

    /// Denies health checks (`grpc.health.v1`) to all callers.
    #[must_use]
    pub fn without_public_health(mut self) -> Self {
        self.implied.clear();
        self.methods.retain(|path, demand| !(HEALTH.contains(&&**path) && *demand == Demand::Open));
        self
    }

    /// Checks the policy against the served methods, so that a server with a mistake does not start.
    ///
    /// `descriptor_set` comes from `token_proto::include_descriptor_set!`; concatenate the bytes of several.
    /// `services` are the full names of the services that the server serves (`NamedService::NAME`).
    ///
    /// # Errors
    ///
    /// Returns an error if a served method has no policy, a policy has no method or one of another kind, or a
    /// service is not described. The error names every fault.
    pub fn serves(self, descriptor_set: &[u8], services: &[&str]) -> Result<ServedPolicy, PolicyError> {
        let faults = Described::decode(descriptor_set).map_or_else(
            || vec!["the descriptor set cannot be decoded".to_owned()],
            |described| described.faults(&self, services),
        );
        PolicyError::or(faults, ServedPolicy(self))
    }

    /// Enforces the policy unchecked, for a server without descriptors. A method without a policy then denies
    /// every caller.
    #[must_use]
    pub fn unchecked(self, _: danger::UncheckedPolicy) -> ServedPolicy {
        ServedPolicy(self)
    }

    /// Returns every scope that some method demands or accepts.
    #[must_use]
    pub fn scopes(&self) -> BTreeSet<&str> {
        let requirements = self.methods.values().filter_map(Demand::token).map(|demand| &demand.requirement);
        requirements
            .flat_map(|requirement| requirement.all_scopes.iter().chain(requirement.any_scopes.iter()))
            .map(|scope| &**scope)
            .collect()
    }

    /// Returns the methods that name callers, with their audiences.
    fn naming_callers(&self) -> impl Iterator<Item = (&str, &str)> {
        let demands = self.methods.iter().filter_map(|(path, demand)| Some((path, demand.token()?)));
        let naming = demands.filter(|(_, demand)| !demand.requirement.callers.is_empty());
        naming.map(|(path, demand)| (&**path, &*demand.audience))
    }
}

/// The error of a policy. It names every fault at once.
#[derive(Debug)]
pub struct PolicyError(Vec<String>);

impl PolicyError {
    pub(crate) fn or<P>(faults: Vec<String>, policy: P) -> Result<P, Self> {
        if faults.is_empty() { Ok(policy) } else { Err(Self(faults)) }
    }

    /// Returns the faults, each with its method.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the policy does not fit: {}", self.0.join("; "))
    }
}

impl std::error::Error for PolicyError {}

/// Matches a client ID against another, or against a prefix and one final `*`.
pub(crate) fn matches(pattern: &str, client_id: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => client_id.starts_with(prefix),
        None => client_id == pattern,
    }
}

/// Returns true for `/package.Service/Method`: two segments of the characters of Protobuf names.
fn is_method_path(path: &str) -> bool {
    let name = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.')
    };
    path.strip_prefix('/')
        .and_then(|rest| rest.split_once('/'))
        .is_some_and(|(service, method)| name(service) && name(method) && !method.contains('.'))
}
