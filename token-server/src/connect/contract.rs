//! The methods of the embedded descriptor set, and the types of their messages.

use std::{collections::HashMap, sync::LazyLock};

use prost_reflect::{
    DescriptorError, DescriptorPool, MessageDescriptor, MethodDescriptor, prost_types::method_options::IdempotencyLevel,
};
use token_proto::{FILE_DESCRIPTOR_SET, POLICY};

/// The service of probes. Its descriptor set is not part of the contract.
const HEALTH: &str = "grpc.health.v1.Health";

/// One method.
#[derive(Clone, Debug)]
pub(super) struct Method {
    pub(super) input: MessageDescriptor,
    pub(super) output: MessageDescriptor,
    /// True for a method that a GET may call.
    pub(super) no_side_effects: bool,
    /// True if either side sends a stream.
    pub(super) stream: bool,
}

impl From<&MethodDescriptor> for Method {
    fn from(method: &MethodDescriptor) -> Self {
        let options = method.method_descriptor_proto().options.as_ref();
        let level = options.map(prost_reflect::prost_types::MethodOptions::idempotency_level);
        Self {
            input: method.input(),
            output: method.output(),
            no_side_effects: level == Some(IdempotencyLevel::NoSideEffects),
            stream: method.is_client_streaming() || method.is_server_streaming(),
        }
    }
}

/// Every method by its path, and every message by its name.
#[derive(Debug)]
pub(super) struct Contract {
    pool: DescriptorPool,
    methods: HashMap<String, Method>,
}

impl Contract {
    /// Returns the contract, which is read once. `None` if it cannot be read: the server does not start then.
    pub(super) fn embedded() -> Option<&'static Self> {
        static EMBEDDED: LazyLock<Option<Contract>> = LazyLock::new(|| Contract::read().ok());
        EMBEDDED.as_ref()
    }

    fn read() -> Result<Self, DescriptorError> {
        let mut pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET)?;
        pool.decode_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)?;
        // The types that errors carry.
        pool.decode_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)?;
        let mut methods = HashMap::new();
        for service in pool.services() {
            for method in service.methods() {
                methods.insert(format!("/{}/{}", service.full_name(), method.name()), Method::from(&method));
            }
        }
        Ok(Self { pool, methods })
    }

    pub(super) fn method(&self, path: &str) -> Option<&Method> {
        self.methods.get(path)
    }

    pub(super) fn message(&self, name: &str) -> Option<MessageDescriptor> {
        self.pool.get_message_by_name(name)
    }
}

/// Returns true for a path of two segments, the first of which is a service of the contract.
pub(super) fn is_exact_method_path(path: &str) -> bool {
    path.strip_prefix('/').and_then(|path| path.split_once('/')).is_some_and(|(service, _)| is_service(service))
}

/// Returns true for a path that ends with a service of the contract and a method, below any prefix.
pub(crate) fn is_method_path(path: &str) -> bool {
    let service = path.rsplit_once('/').and_then(|(service, _)| service.rsplit('/').next());
    service.is_some_and(is_service)
}

fn is_service(name: &str) -> bool {
    let of = |path: &str| {
        path.strip_prefix('/').and_then(|path| path.strip_prefix(name)).is_some_and(|rest| rest.starts_with('/'))
    };
    // Most paths of other protocols have no dot.
    name.contains('.') && (name == HEALTH || POLICY.iter().any(|method| of(&method.path)))
}

#[cfg(test)]
mod tests {
    use prost_reflect::{FieldDescriptor, Value};

    use super::*;

    #[test]
    fn every_method_of_the_contract_is_known_by_its_path() {
        let contract = Contract::embedded().unwrap();
        for method in POLICY {
            assert!(contract.method(&method.path).is_some(), "{}", method.path);
        }
        for path in contract.methods.keys() {
            assert!(is_exact_method_path(path) && is_method_path(path), "{path}");
            assert!(is_method_path(&format!("/sso{path}")) && !is_exact_method_path(&format!("/sso{path}")));
        }
        assert!(contract.methods.len() > POLICY.len(), "with those of probes");
    }

    #[test]
    fn other_paths_are_of_no_method() {
        for path in ["", "/", "/oauth/token", "/no.Such/Method", "/m2m.token.v1.TokenService", "/m2m.token.v1/x", "*"] {
            assert!(!is_method_path(path) && !is_exact_method_path(path), "{path}");
        }
    }

    fn sensitive(field: &FieldDescriptor) -> bool {
        let pool = field.parent_pool();
        let mark = pool.get_extension_by_name("m2m.auth.v1.sensitive").unwrap();
        matches!(field.options().get_extension(&mark).as_ref(), Value::Bool(true))
    }

    fn has_secret(message: &MessageDescriptor, depth: usize) -> bool {
        let inner = |field: &FieldDescriptor| {
            depth > 0 && field.kind().as_message().is_some_and(|message| has_secret(message, depth - 1))
        };
        message.fields().any(|field| sensitive(&field) || inner(&field))
    }

    /// Logs, histories and caches keep URLs.
    #[test]
    fn no_method_that_get_may_call_takes_a_secret() {
        let contract = Contract::embedded().unwrap();
        let callable = |method: &&Method| method.no_side_effects;
        assert!(contract.methods.values().any(|method| has_secret(&method.input, 6)), "the test finds secrets");
        assert!(contract.methods.values().filter(callable).count() >= 7);
        for (path, method) in &contract.methods {
            assert!(!method.no_side_effects || !has_secret(&method.input, 6), "{path} takes a secret in a URL");
        }
    }
}
