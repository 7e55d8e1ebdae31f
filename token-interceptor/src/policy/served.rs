//! The policy held against the descriptors of what is served.

use std::collections::{BTreeSet, HashSet};

use prost::Message as _;
use prost_types::FileDescriptorSet;

/// Every disagreement between `declared` paths and the `services` that `descriptor_set` describes.
pub(super) fn faults<'a>(
    declared: impl Iterator<Item = &'a str>,
    descriptor_set: &[u8],
    services: &[&str],
) -> Vec<String> {
    let declared: HashSet<&str> = declared.collect();
    let Ok(described) = FileDescriptorSet::decode(descriptor_set) else {
        return vec!["the descriptor set cannot be decoded".to_owned()];
    };
    let methods = methods(&described);
    let mut faults = BTreeSet::new();
    for service in services {
        let prefix = format!("/{service}/");
        if !methods.iter().any(|path| path.starts_with(&prefix)) {
            faults.insert(format!("{service}: the descriptor set does not describe it"));
        }
        for path in methods.iter().filter(|path| path.starts_with(&prefix) && !declared.contains(path.as_str())) {
            faults.insert(format!("{path}: is served without a policy, so nobody could call it"));
        }
    }
    for path in declared.iter().filter(|path| !path.starts_with("/grpc.health.v1.Health/")) {
        if !methods.contains(*path) {
            faults.insert(format!("{path}: has a policy, but there is no such method"));
        }
    }
    faults.into_iter().collect()
}

fn methods(described: &FileDescriptorSet) -> HashSet<String> {
    let mut methods = HashSet::new();
    for file in &described.file {
        for service in &file.service {
            let package = file.package().to_owned();
            let dot = if package.is_empty() { "" } else { "." };
            for method in &service.method {
                methods.insert(format!("/{package}{dot}{}/{}", service.name(), method.name()));
            }
        }
    }
    methods
}
