//! Reads the `m2m.auth.v1` annotations of an encoded descriptor set.
//!
//! A build script that compiles `.proto` files with its own tools writes the policy table by
//! [`write_policy`]. A program that meets its services at run time reads the policy by [`policy`].
//!
//! ```no_run
//! // build.rs
//! # fn compile_with_own_tools() -> Result<Vec<u8>, Box<dyn std::error::Error>> { Ok(Vec::new()) }
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // A `FileDescriptorSet` with its imports, from protoc, buf or protox.
//!     let encoded = compile_with_own_tools()?;
//!     token_proto::descriptor::write_policy(&encoded, &["inventory.proto"])?;
//!     Ok(())
//! }
//! ```

#[path = "descriptor/table.rs"]
mod table;

use std::{borrow::Cow, env, fmt, fs, path::PathBuf, time::Duration};

use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, Kind, MethodDescriptor, ServiceDescriptor, Value,
};

use crate::policy::{Access, ClaimRequirement, MethodKind, MethodPolicy, Requirement, StreamExpiry};

/// The reason that a descriptor set has no usable policy.
pub struct Error(pub(crate) String);

impl fmt::Debug for Error {
    /// The same as `Display`, because cargo prints a build script's error with `Debug`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Returns the policy of every service in an encoded `FileDescriptorSet`, those of imports included.
///
/// # Errors
///
/// When the bytes are not a descriptor set, or an annotation contradicts itself.
pub fn policy(encoded: &[u8]) -> Result<Vec<MethodPolicy>, Error> {
    read(encoded, |_| true)
}

/// Returns the policy of the services in `files`. They are named as in the descriptor set.
///
/// # Errors
///
/// As [`policy`], and when one of the files is not in the set.
pub fn policy_of_files(encoded: &[u8], files: &[&str]) -> Result<Vec<MethodPolicy>, Error> {
    let pool = DescriptorPool::decode(encoded).map_err(unusable)?;
    if let Some(absent) = files.iter().find(|file| pool.get_file_by_name(file).is_none()) {
        return Err(Error(format!("the descriptor set has no file {absent:?}")));
    }
    read(encoded, |file| files.contains(&file))
}

/// Writes the policy table of the services in `files` to `OUT_DIR`, for
/// [`include_policy!`](crate::include_policy). A method without a policy is a build warning.
///
/// # Errors
///
/// As [`policy_of_files`], and when the table cannot be written.
#[allow(clippy::print_stdout, reason = "how a build script speaks to cargo")]
pub fn write_policy(encoded: &[u8], files: &[&str]) -> Result<(), Box<dyn std::error::Error>> {
    let policies = policy_of_files(encoded, files)?;
    for method in policies.iter().filter(|method| method.access == Access::Undeclared) {
        println!("cargo::warning={}", undeclared(&method.path));
    }
    let out = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: call this from a build script")?;
    fs::write(PathBuf::from(out).join("token_policy.rs"), table(&policies))?;
    Ok(())
}

/// Returns the policy as a Rust expression of type `&'static [MethodPolicy]`.
#[must_use]
pub fn table(policies: &[MethodPolicy]) -> String {
    table::render(policies, "::token_proto")
}

/// As [`table`], for this package's own build script.
#[allow(dead_code, reason = "the library itself never compiles the contract")]
pub(crate) fn own_table(policies: &[MethodPolicy]) -> String {
    table::render(policies, "crate")
}

/// Returns the warning about a method without a policy.
pub(crate) fn undeclared(path: &str) -> String {
    format!("{path} declares no m2m.auth.v1 policy: the server layer refuses every call to it")
}

fn unusable(error: prost_reflect::DescriptorError) -> Error {
    Error(format!("not a usable descriptor set: {error}"))
}

/// Reads the policy of the services in an encoded descriptor set. Only files for which `in_file` returns true
/// count.
pub(crate) fn read(encoded: &[u8], in_file: impl Fn(&str) -> bool) -> Result<Vec<MethodPolicy>, Error> {
    let pool = DescriptorPool::decode(encoded).map_err(unusable)?;
    let extensions = Extensions::find(&pool)?;
    let mut policies = Vec::new();
    for service in pool.services().filter(|service| in_file(service.parent_file().name())) {
        let declared = extensions.of_service(&service)?;
        for method in service.methods() {
            policies.push(MethodPolicy::new(
                Cow::Owned(format!("/{}/{}", service.full_name(), method.name())),
                Cow::Owned(declared.audience.clone()),
                extensions.of_method(&method)?.unwrap_or_else(|| declared.default.clone()),
                MethodKind::new(method.is_client_streaming(), method.is_server_streaming()),
            ));
        }
    }
    Ok(policies)
}

/// The extensions of the annotations. Absent if no file of the set imports them: then every method is
/// undeclared.
struct Extensions {
    service: Option<ExtensionDescriptor>,
    method: Option<ExtensionDescriptor>,
}

struct Declared {
    audience: String,
    default: Access,
}

impl Extensions {
    fn find(pool: &DescriptorPool) -> Result<Self, Error> {
        let found = Self {
            service: pool.get_extension_by_name("m2m.auth.v1.service"),
            method: pool.get_extension_by_name("m2m.auth.v1.method"),
        };
        // The set was compiled with another copy of the annotations. In a oneof, only the last of two members
        // would be read.
        let kind = found.method.as_ref().map(ExtensionDescriptor::kind);
        if kind.as_ref().and_then(Kind::as_message).is_some_and(|option| option.oneofs().len() > 0) {
            return Err(Error(
                "the descriptor set was compiled with another version of annotations.proto: compile it again"
                    .to_owned(),
            ));
        }
        Ok(found)
    }

    fn of_service(&self, service: &ServiceDescriptor) -> Result<Declared, Error> {
        let mut declared = Declared { audience: service.full_name().to_owned(), default: Access::Undeclared };
        let Some(option) = option(&service.options(), self.service.as_ref()) else { return Ok(declared) };
        all_known(&option, &["audience", "default_requirement"], service.full_name())?;
        if let Some(audience) = strings(&option, "audience").into_iter().next() {
            declared.audience = audience;
        }
        if let Some(requirement) = message(&option, "default_requirement") {
            declared.default = Access::Require(requirement_of(&requirement, service.full_name())?);
        }
        Ok(declared)
    }

    /// Returns `None` if the method has no option of its own.
    fn of_method(&self, method: &MethodDescriptor) -> Result<Option<Access>, Error> {
        let Some(option) = option(&method.options(), self.method.as_ref()) else { return Ok(None) };
        let name = method.full_name();
        all_known(&option, &["public", "require", "identify"], name)?;
        let flag = |field| matches!(option.get_field_by_name(field).as_deref(), Some(Value::Bool(true)));
        let access = match (message(&option, "require"), flag("public"), flag("identify")) {
            (Some(_), true, _) => {
                return Err(Error(format!("{name}: is both public and requires a token: declare one of the two")));
            }
            (Some(_), false, true) => {
                return Err(Error(format!("{name}: identify is for public methods, and this one requires a token")));
            }
            (None, false, true) => {
                return Err(Error(format!("{name}: identify is for public methods: declare public too")));
            }
            (Some(requirement), false, false) => Access::Require(requirement_of(&requirement, name)?),
            (None, true, true) => Access::Identify,
            (None, true, false) => Access::Public,
            (None, false, false) => Access::Undeclared,
        };
        Ok(Some(access))
    }
}

/// Rejects an annotation with fields that this version does not know. They may demand more of a token.
fn all_known(message: &DynamicMessage, known: &[&str], owner: &str) -> Result<(), Error> {
    let set = message.fields().map(|(field, _)| field.name().to_owned());
    let numbered = message.unknown_fields().map(|field| format!("number {}", field.number()));
    match set.filter(|name| !known.contains(&&**name)).chain(numbered).next() {
        Some(unknown) => Err(Error(format!(
            "{owner}: the annotation has the field {unknown}, which this version of token-proto does not know"
        ))),
        None => Ok(()),
    }
}

const REQUIREMENT_FIELDS: [&str; 6] =
    ["all_scopes", "any_scopes", "callers", "max_token_age", "stream_expiry", "claims"];

fn requirement_of(message: &DynamicMessage, owner: &str) -> Result<Requirement, Error> {
    all_known(message, &REQUIREMENT_FIELDS, owner)?;
    let requirement = Requirement {
        all_scopes: cows(strings(message, "all_scopes")),
        any_scopes: cows(strings(message, "any_scopes")),
        callers: cows(strings(message, "callers")),
        max_token_age: duration(message, "max_token_age", owner)?,
        stream_expiry: match message.get_field_by_name("stream_expiry").as_deref() {
            Some(Value::EnumNumber(2)) => StreamExpiry::Allow,
            _ => StreamExpiry::Close,
        },
        claims: claims(message, owner)?,
    };
    for scope in requirement.all_scopes.iter().chain(requirement.any_scopes.iter()) {
        // RFC 6749 section 3.3: scope-token.
        if scope.is_empty() || !scope.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
            return Err(Error(format!("{owner}: {scope:?} is not a scope (RFC 6749 section 3.3)")));
        }
    }
    for caller in requirement.callers.iter() {
        let prefix = caller.strip_suffix('*').unwrap_or(caller);
        if caller.is_empty() || prefix.contains('*') {
            return Err(Error(format!(
                "{owner}: caller {caller:?} must be a client ID, or a prefix and one final \"*\""
            )));
        }
    }
    Ok(requirement)
}

fn claims(requirement: &DynamicMessage, owner: &str) -> Result<Cow<'static, [ClaimRequirement]>, Error> {
    let declared = requirement.get_field_by_name("claims");
    let declared = declared.as_deref().and_then(Value::as_list).unwrap_or_default();
    let mut claims = Vec::with_capacity(declared.len());
    for message in declared.iter().filter_map(Value::as_message) {
        all_known(message, &["claim", "values"], owner)?;
        let claim = strings(message, "claim").into_iter().next().unwrap_or_default();
        let required = ClaimRequirement::new(claim.into(), cows(strings(message, "values")));
        if let Some(fault) = required.fault() {
            return Err(Error(format!("{owner}: {fault}")));
        }
        claims.push(required);
    }
    Ok(claims.into())
}

fn option(options: &DynamicMessage, extension: Option<&ExtensionDescriptor>) -> Option<DynamicMessage> {
    let extension = extension.filter(|extension| options.has_extension(extension))?;
    options.get_extension(extension).as_message().cloned()
}

fn message(parent: &DynamicMessage, field: &str) -> Option<DynamicMessage> {
    if !parent.has_field_by_name(field) {
        return None;
    }
    parent.get_field_by_name(field)?.as_message().cloned()
}

fn strings(parent: &DynamicMessage, field: &str) -> Vec<String> {
    match parent.get_field_by_name(field).as_deref() {
        Some(Value::String(one)) if !one.is_empty() => vec![one.clone()],
        Some(Value::List(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn duration(parent: &DynamicMessage, field: &str, owner: &str) -> Result<Option<Duration>, Error> {
    let Some(value) = message(parent, field) else { return Ok(None) };
    let part = |name: &str| match value.get_field_by_name(name).as_deref() {
        Some(Value::I64(seconds)) => *seconds,
        Some(Value::I32(nanos)) => i64::from(*nanos),
        _ => 0,
    };
    let negative = |_| Error(format!("{owner}: {field} is negative"));
    let seconds = u64::try_from(part("seconds")).map_err(negative)?;
    let nanos = u32::try_from(part("nanos")).map_err(negative)?;
    Ok(Some(Duration::new(seconds, nanos)))
}

fn cows(strings: Vec<String>) -> Cow<'static, [Cow<'static, str>]> {
    Cow::Owned(strings.into_iter().map(Cow::Owned).collect())
}
