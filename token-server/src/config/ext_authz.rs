//! `[ext_authz]`: decisions for Envoy, by the policy that descriptor sets carry.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use token_interceptor::policy::{Policy, ServedPolicy};
use token_proto::policy::{Access, MethodPolicy, from_descriptor_set};

use super::{
    reader::Section,
    setting::{Setting, describe},
    source::Value,
};

/// `[ext_authz]`: a port of its own, where `envoy.service.auth.v3.Authorization` decides about requests to servers
/// that have no layer.
#[derive(Clone, Debug)]
pub struct ExtAuthz {
    /// Where proxies ask: loopback in plaintext, or over TLS with a certificate of `client_ca`.
    pub address: SocketAddr,
    /// Roots, as PEM, of the proxies' certificates; the server's own certificate is that of `[tls]`. Absent: plaintext.
    pub client_ca: Option<PathBuf>,
    /// What the annotations in `descriptor_sets` demand.
    pub policy: ServedPolicy,
    /// Which decisions are written to the audit stream.
    pub audit: AuditedDecisions,
}

/// Which decisions for proxies are written to the audit stream: they ask about each request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditedDecisions {
    /// Every one.
    #[default]
    All,
    /// What was not let through, and what could not be decided. The rest is counted, in the metrics.
    Refused,
}

impl Setting for AuditedDecisions {
    const ALLOWED: &'static str = r#""all" or "refused""#;

    fn read(value: &Value) -> Result<Self, String> {
        match String::read(value)?.as_str() {
            "all" => Ok(Self::All),
            "refused" => Ok(Self::Refused),
            _ => Err(format!("{} does not say which decisions are audited", describe(value))),
        }
    }
}

impl ExtAuthz {
    /// `None` where it is off, or where a mistake has been recorded. `plaintext`: there is no `[tls]`.
    pub(super) fn read(given: bool, mut section: Section<'_>, plaintext: bool) -> Option<Self> {
        if !given {
            return None;
        }
        let address: Option<SocketAddr> = section.required("address");
        let client_ca = section.file("client_ca");
        let audit = section.or("audit", AuditedDecisions::default());
        let files: Vec<PathBuf> = section.required("descriptor_sets").unwrap_or_default();
        let declared = Declared::read(&files).map_err(|problem| {
            let allowed = "files of `buf build -o FILE` or `protoc --include_imports --descriptor_set_out=FILE`, with \
                           services whose methods all say what they demand";
            section.reject("descriptor_sets", problem, allowed);
        });
        if client_ca.is_some() && plaintext {
            let problem = "it needs [tls]: the server must show a certificate too".to_owned();
            section.reject("client_ca", problem, "[tls] certificate and private_key, or no client_ca");
        }
        if let Some(address) = address
            && client_ca.is_none()
            && !address.ip().is_loopback()
        {
            let problem = format!("{address} is not loopback, and there is no client_ca: anybody could ask");
            section.reject("address", problem, "a loopback address, or client_ca = \"/path/to/proxies-ca.pem\"");
        }
        section.finish();
        Some(Self { address: address?, client_ca, policy: declared.ok()?.policy, audit })
    }
}

/// What descriptor sets declare.
pub(crate) struct Declared {
    /// Every method of every service of which at least one method says what it demands.
    pub(crate) table: Vec<MethodPolicy>,
    /// The same, held against the services: all their methods say so.
    pub(crate) policy: ServedPolicy,
}

impl Declared {
    /// Reads the files: encoded descriptor sets with their imports.
    ///
    /// # Errors
    ///
    /// In words, with every fault of the first file or of the policy that cannot be used.
    pub(crate) fn read(files: &[PathBuf]) -> Result<Self, String> {
        let (mut table, mut encoded) = (Vec::<MethodPolicy>::new(), Vec::new());
        for file in files {
            let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
            let methods = from_descriptor_set(&bytes).map_err(|error| format!("{}: {error}", file.display()))?;
            let services = annotated(&methods);
            if services.is_empty() {
                return Err(format!("{}: no service in it has m2m.auth.v1 annotations", file.display()));
            }
            // The same method may be in several files; where it is declared otherwise, the policy below finds fault.
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

/// The services of which at least one method says what it demands.
fn annotated(methods: &[MethodPolicy]) -> BTreeSet<String> {
    let declared = methods.iter().filter(|method| method.access != Access::Undeclared);
    declared.map(|method| service(method).to_owned()).collect()
}

/// `package.Service`.
fn service(method: &MethodPolicy) -> &str {
    method.path.trim_start_matches('/').rsplit_once('/').map_or("", |(service, _)| service)
}
