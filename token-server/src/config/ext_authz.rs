//! `[ext_authz]`: decisions for Envoy, by the policy in descriptor sets.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use token_interceptor::policy::{Policy, ServedPolicy};
use token_proto::{
    descriptor,
    policy::{Access, MethodPolicy},
};

use super::{
    reader::Section,
    setting::{Setting, describe},
    source::Value,
};

/// `[ext_authz]`: a separate port for `envoy.service.auth.v3.Authorization`, which decides for servers
/// without the layer.
#[derive(Clone, Debug)]
pub struct ExtAuthz {
    /// The address for proxies: loopback in plaintext, or TLS with a certificate of `client_ca`.
    pub address: SocketAddr,
    /// CA certificates in PEM for the proxies' certificates. The server's own certificate is that of `[tls]`.
    /// `None` for plaintext.
    pub client_ca: Option<PathBuf>,
    /// The policy that the annotations in `descriptor_sets` declare.
    pub policy: ServedPolicy,
    /// The decisions that are written to the audit stream.
    pub audit: AuditedDecisions,
}

/// The decisions for proxies that are written to the audit stream. Proxies ask about each request.
///
/// Exhaustive: the server must apply a new choice before it compiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditedDecisions {
    /// Every decision.
    #[default]
    All,
    /// Rejections, and requests that could not be decided. Metrics count the rest.
    Refused,
}

impl Setting for AuditedDecisions {
    const ALLOWED: &'static str = r#""all" or "refused""#;

    fn read(value: &Value) -> Result<Self, String> {
        match String::read(value)?.as_str() {
            "all" => Ok(Self::All),
            "refused" => Ok(Self::Refused),
            _ => Err(format!("{} does not name the decisions to audit", describe(value))),
        }
    }
}

impl ExtAuthz {
    /// Returns `None` if it is off, or if a mistake has been recorded. `plaintext` means that `[tls]` is
    /// absent.
    pub(super) fn read(given: bool, mut section: Section<'_>, plaintext: bool) -> Option<Self> {
        if !given {
            return None;
        }
        let address: Option<SocketAddr> = section.required("address");
        let client_ca = section.file("client_ca");
        let audit = section.or("audit", AuditedDecisions::default());
        let files: Vec<PathBuf> = section.required("descriptor_sets").unwrap_or_default();
        let declared = DescriptorPolicy::read(&files).map_err(|problem| {
            let allowed = "files of `buf build -o FILE` or `protoc --include_imports --descriptor_set_out=FILE`, with \
                           services whose methods are all annotated";
            section.reject("descriptor_sets", problem, allowed);
        });
        if client_ca.is_some() && plaintext {
            let problem = "it needs [tls], because the server must present a certificate too".to_owned();
            section.reject("client_ca", problem, "[tls] certificate and private_key, or no client_ca");
        }
        if let Some(address) = address
            && client_ca.is_none()
            && !address.ip().is_loopback()
        {
            let problem =
                format!("{address} is not loopback, and there is no client_ca: any host could ask for decisions");
            section.reject("address", problem, "a loopback address, or client_ca = \"/path/to/proxies-ca.pem\"");
        }
        section.finish();
        Some(Self { address: address?, client_ca, policy: declared.ok()?.policy, audit })
    }
}

/// The content of descriptor sets.
pub struct DescriptorPolicy {
    /// Every method of every service with at least one annotated method.
    pub table: Vec<MethodPolicy>,
    /// The same, checked to be complete: every method of those services is annotated.
    pub policy: ServedPolicy,
}

impl DescriptorPolicy {
    /// Reads the files: encoded descriptor sets with their imports.
    ///
    /// # Errors
    ///
    /// All problems of the first unusable file, or of the policy, in words.
    pub fn read(files: &[PathBuf]) -> Result<Self, String> {
        let (mut table, mut encoded) = (Vec::<MethodPolicy>::new(), Vec::new());
        for file in files {
            let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
            let methods = descriptor::policy(&bytes).map_err(|error| format!("{}: {error}", file.display()))?;
            let services = annotated(&methods);
            if services.is_empty() {
                return Err(format!("{}: no service in it has m2m.auth.v1 annotations", file.display()));
            }
            // Several files may declare the same method. If the declarations differ, the policy below reports
            // it.
            let fresh = methods.into_iter().filter(|method| services.contains(service(method)));
            let fresh: Vec<_> = fresh.filter(|method| !table.contains(method)).collect();
            table.extend(fresh);
            encoded.extend(bytes);
        }
        let services = annotated(&table);
        if services.is_empty() {
            return Err("it names no file".to_owned());
        }
        let served: Vec<&str> = services.iter().map(String::as_str).collect();
        let policy = Policy::new(&table).and_then(|policy| policy.serves(&encoded, &served));
        let policy = policy.map_err(|error| error.to_string())?;
        Ok(Self { table, policy })
    }
}

/// Returns the services with at least one annotated method.
fn annotated(methods: &[MethodPolicy]) -> BTreeSet<String> {
    let declared = methods.iter().filter(|method| method.access != Access::Undeclared);
    declared.map(|method| service(method).to_owned()).collect()
}

/// Returns `package.Service`.
fn service(method: &MethodPolicy) -> &str {
    method.path.trim_start_matches('/').rsplit_once('/').map_or("", |(service, _)| service)
}
