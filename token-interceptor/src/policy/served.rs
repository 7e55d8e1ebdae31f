//! The policy, checked against the descriptors of the served methods.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
};

use prost::Message as _;
use prost_types::FileDescriptorSet;
use token_proto::policy::MethodKind;

use super::{Demand, Policy, PolicyError};

/// A policy that was checked against the served methods. A server layer takes no other kind, so a server with
/// a mistake does not start. [`Policy::serves`] makes one.
#[derive(Clone, Debug)]
pub struct ServedPolicy(pub(super) Policy);

impl ServedPolicy {
    /// Returns the declared policy.
    #[must_use]
    pub fn declared(&self) -> &Policy {
        &self.0
    }

    /// Rejects methods that name callers unless `are_unique` is true for their audience: a client ID alone
    /// then identifies the caller.
    pub(crate) fn check_callers(&self, are_unique: impl Fn(&str) -> bool) -> Result<(), PolicyError> {
        let ambiguous = self.0.naming_callers().filter(|(_, audience)| !are_unique(audience));
        let mut faults: Vec<String> = ambiguous
            .map(|(path, audience)| {
                format!("{path}: names callers, and several issuers speak for {audience:?}: give all of them but one their clients: TrustedIssuer::clients")
            })
            .collect();
        faults.sort_unstable();
        PolicyError::or(faults, ())
    }

    /// Returns the path and the demand of each method.
    pub(crate) fn into_demands(self) -> impl Iterator<Item = (Cow<'static, str>, Demand)> {
        self.0.methods.into_iter()
    }
}

/// The methods that a descriptor set describes.
pub(super) struct Described(HashMap<String, MethodKind>);

impl Described {
    /// Returns `None` if the bytes are no descriptor set.
    pub(super) fn decode(descriptor_set: &[u8]) -> Option<Self> {
        let set = FileDescriptorSet::decode(descriptor_set).ok()?;
        let mut methods = HashMap::new();
        for file in &set.file {
            let dot = if file.package().is_empty() { "" } else { "." };
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}{dot}{}/{}", file.package(), service.name(), method.name());
                    methods.insert(path, MethodKind::new(method.client_streaming(), method.server_streaming()));
                }
            }
        }
        Some(Self(methods))
    }

    /// Returns every difference between the `declared` policy and the served `services`.
    pub(super) fn faults(&self, declared: &Policy, services: &[&str]) -> Vec<String> {
        let declared: HashMap<&str, &Demand> = declared
            .methods
            .iter()
            .map(|(path, demand)| (&**path, demand))
            .filter(|(_, demand)| **demand != Demand::Undeclared)
            .collect();
        let mut faults = BTreeSet::new();
        for service in services {
            let prefix = format!("/{service}/");
            let methods: Vec<&String> = self.0.keys().filter(|path| path.starts_with(&prefix)).collect();
            if methods.is_empty() {
                faults.insert(format!("{service}: the descriptor set does not describe it"));
            }
            for path in methods.into_iter().filter(|path| !declared.contains_key(path.as_str())) {
                faults.insert(format!("{path}: is served without a policy, so every call is denied"));
            }
        }
        for (path, demand) in declared.into_iter().filter(|(path, _)| !path.starts_with("/grpc.health.v1.Health/")) {
            let Some(described) = self.0.get(path) else {
                faults.insert(format!("{path}: has a policy, but there is no such method"));
                continue;
            };
            if let Some(demand) = demand.token()
                && demand.kind != *described
            {
                faults.insert(format!("{path}: is {:?} in the policy, {described:?} as it is served", demand.kind));
            }
        }
        faults.into_iter().collect()
    }
}
