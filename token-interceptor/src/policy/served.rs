//! The policy held against the descriptors of what is served.

use std::collections::{BTreeSet, HashMap, HashSet};

use prost::Message as _;
use prost_types::FileDescriptorSet;

/// The methods that a descriptor set describes, and whether the client of each sends a stream.
pub(super) struct Described(HashMap<String, bool>);

impl Described {
    /// `None` where the bytes are no descriptor set.
    pub(super) fn decode(descriptor_set: &[u8]) -> Option<Self> {
        let set = FileDescriptorSet::decode(descriptor_set).ok()?;
        let mut methods = HashMap::new();
        for file in &set.file {
            let dot = if file.package().is_empty() { "" } else { "." };
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}{dot}{}/{}", file.package(), service.name(), method.name());
                    methods.insert(path, method.client_streaming());
                }
            }
        }
        Some(Self(methods))
    }

    pub(super) fn is_client_streaming(&self, path: &str) -> bool {
        self.0.get(path).copied().unwrap_or(false)
    }

    /// Every disagreement between `declared` paths and the `services` that are served.
    pub(super) fn faults<'a>(&self, declared: impl Iterator<Item = &'a str>, services: &[&str]) -> Vec<String> {
        let declared: HashSet<&str> = declared.collect();
        let mut faults = BTreeSet::new();
        for service in services {
            let prefix = format!("/{service}/");
            let methods: Vec<&String> = self.0.keys().filter(|path| path.starts_with(&prefix)).collect();
            if methods.is_empty() {
                faults.insert(format!("{service}: the descriptor set does not describe it"));
            }
            for path in methods.into_iter().filter(|path| !declared.contains(path.as_str())) {
                faults.insert(format!("{path}: is served without a policy, so nobody could call it"));
            }
        }
        for path in declared.iter().filter(|path| !path.starts_with("/grpc.health.v1.Health/")) {
            if !self.0.contains_key(*path) {
                faults.insert(format!("{path}: has a policy, but there is no such method"));
            }
        }
        faults.into_iter().collect()
    }
}
