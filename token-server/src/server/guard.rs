//! The policy of this server's own services, for the layer that guards them.

use token_interceptor::policy::{Policy, ServedPolicy};
use token_proto::{FILE_DESCRIPTOR_SET, POLICY};

use super::ServeError;

/// Returns the policy of this project's own `services`. Each of their methods must declare one.
pub(super) fn own_policy(services: &[&str]) -> Result<ServedPolicy, ServeError> {
    let declared: Vec<_> = POLICY.iter().filter(|method| is_of(&method.path, services)).cloned().collect();
    let policy = Policy::new(&declared).map_err(ServeError::internal)?.without_public_health();
    policy.serves(FILE_DESCRIPTOR_SET, services).map_err(ServeError::internal)
}

fn is_of(path: &str, services: &[&str]) -> bool {
    path.trim_start_matches('/').split_once('/').is_some_and(|(service, _)| services.contains(&service))
}
