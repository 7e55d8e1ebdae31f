//! `[ext_authz]`: decisions for Envoy, by the policy that descriptor sets carry.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use token_interceptor::policy::Policy;
use token_proto::policy::{Access, MethodPolicy, from_descriptor_set};

use super::reader::Section;

/// `[ext_authz]`: a port of its own, where `envoy.service.auth.v3.Authorization` decides about requests to servers
/// that have no layer.
#[derive(Clone, Debug)]
pub struct ExtAuthz {
    /// Where proxies ask: loopback in plaintext, or over TLS with a certificate of `client_ca`.
    pub address: SocketAddr,
    /// Roots, as PEM, of the proxies' certificates; the server's own certificate is that of `[tls]`. Absent: plaintext.
    pub client_ca: Option<PathBuf>,
    /// What the annotations in `descriptor_sets` demand.
    pub policy: Policy,
}

impl ExtAuthz {
    /// `None` where it is off, or where a mistake has been recorded. `plaintext`: there is no `[tls]`.
    pub(super) fn read(given: bool, mut section: Section<'_>, plaintext: bool) -> Option<Self> {
        if !given {
            return None;
        }
        let address: Option<SocketAddr> = section.required("address");
        let client_ca = section.file("client_ca");
        let files: Vec<PathBuf> = section.required("descriptor_sets").unwrap_or_default();
        let policy = policy_of(&files).map_err(|problem| {
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
        Some(Self { address: address?, client_ca, policy: policy.ok()? })
    }
}

/// The policy of every service that says what it demands, in every file.
///
/// # Errors
///
/// In words: what is wrong with the first file that cannot be used.
pub(crate) fn policy_of(files: &[PathBuf]) -> Result<Policy, String> {
    let mut policy = Policy::new(&[]).map_err(|error| error.to_string())?;
    if files.is_empty() {
        return Err("it names no file".to_owned());
    }
    for file in files {
        let table = declared_in(file)?;
        policy = policy.and(&table).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(policy)
}

/// The methods of every service in the file of which at least one says what it demands; then all must.
///
/// # Errors
///
/// As [`policy_of`].
pub(crate) fn declared_in(file: &Path) -> Result<Vec<MethodPolicy>, String> {
    let encoded = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut table = from_descriptor_set(&encoded).map_err(|error| format!("{}: {error}", file.display()))?;
    let declares = |method: &MethodPolicy| method.access != Access::Undeclared;
    let services: Vec<String> = table.iter().filter(|method| declares(method)).map(service).collect();
    table.retain(|method| services.contains(&service(method)));
    if table.is_empty() {
        return Err(format!("{}: no service in it has token.auth.v1 annotations", file.display()));
    }
    match table.iter().find(|method| !declares(method)) {
        Some(method) => Err(format!("{}: {} does not say what it demands", file.display(), method.path)),
        None => Ok(table),
    }
}

/// `/package.Service/`.
fn service(method: &MethodPolicy) -> String {
    method.path.rsplit_once('/').map_or_else(String::new, |(service, _)| format!("{service}/"))
}
