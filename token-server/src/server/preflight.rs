//! Checks for configurations that would start badly, made before the start: `serve --check`, and warnings of
//! `serve`.
//!
//! Nothing is created, opened for writing, connected to or listened on.

use std::{fmt, path::Path, time::SystemTime};

use rustix::fs::{Access, access};
use token_store::{StoreLocation, private_file};

use super::{ext_authz, transport::tls};
use crate::config::{AuditTarget, Config};

/// The severity of a finding.
///
/// Exhaustive: `serve --check` must report a new severity before it compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// `serve` or every client would fail; `--check` fails.
    Mistake,
    /// The operator may have intended it.
    Warning,
}

/// One finding, with its setting and the next step.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The severity.
    pub severity: Severity,
    /// The name of the setting.
    pub setting: String,
    /// The problem, as one sentence.
    pub problem: String,
    /// The next step for the operator.
    pub next: &'static str,
}

impl Finding {
    fn mistake(setting: &str, problem: impl Into<String>, next: &'static str) -> Self {
        Self { severity: Severity::Mistake, setting: setting.to_owned(), problem: problem.into(), next }
    }

    fn warning(setting: &str, problem: impl Into<String>, next: &'static str) -> Self {
        Self { severity: Severity::Warning, ..Self::mistake(setting, problem, next) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    {}", self.setting, self.problem, self.next)
    }
}

/// Returns every finding about the configuration and the files that it names.
pub fn findings(config: &Config, now: SystemTime) -> Vec<Finding> {
    let mut findings = certificates(config, now);
    findings.extend(plaintext_issuer(config));
    findings.extend(same_port(config));
    findings.extend(store(&config.store.location));
    if let AuditTarget::File(file) = &config.telemetry.audit {
        findings.extend(unwritable(file).map(|problem| Finding::mistake("telemetry.audit", problem, MAKE_FOLDER)));
    }
    findings.extend(secret_files(config));
    findings
}

const MAKE_FOLDER: &str =
    "create the folder, owned by the user that the server runs as: install -d -m 700 -o USER FOLDER";

fn certificates(config: &Config, now: SystemTime) -> Vec<Finding> {
    let Some(files) = &config.tls else { return Vec::new() };
    let mut findings = Vec::new();
    let loaded = [
        ("tls", tls::check(files, Some(&config.issuer), now)),
        (
            "ext_authz.client_ca",
            ext_authz::tls_files(config).map_or(Ok(Vec::new()), |files| tls::check(&files, None, now)),
        ),
    ];
    for (setting, checked) in loaded {
        match checked {
            Err(error) => findings.push(Finding::mistake(
                setting,
                token_interceptor::error_chain::of(&error).to_string(),
                "provide a certificate chain and its private key, in PEM",
            )),
            // The second port shares the first one's certificate, which has been checked.
            Ok(faults) if setting == "tls" => findings.extend(faults.into_iter().map(of_certificate)),
            Ok(_) => {}
        }
    }
    findings
}

fn of_certificate(fault: tls::Fault) -> Finding {
    let (setting, problem) = ("tls.certificate", fault.to_string());
    match fault {
        tls::Fault::OtherHost { .. } => Finding::warning(
            setting,
            problem,
            "get a certificate for that host, unless a proxy in front shows clients another one",
        ),
        tls::Fault::Expired { .. } => Finding::mistake(setting, problem, "renew it"),
        tls::Fault::NotYetValid { .. } => {
            Finding::mistake(setting, problem, "correct the clock of this machine, or get another certificate")
        }
        tls::Fault::EndsSoon { .. } => Finding::warning(setting, problem, "renew it"),
    }
}

fn plaintext_issuer(config: &Config) -> Option<Finding> {
    let plaintext = config.issuer.as_str().starts_with("http://");
    (plaintext && config.tls.is_some()).then(|| {
        Finding::mistake(
            "issuer.url",
            format!("{} is http, but the port speaks TLS: no client can connect", config.issuer),
            "use an https URL, or remove [tls]",
        )
    })
}

/// Finds two configured ports that cannot both be listened on.
fn same_port(config: &Config) -> Vec<Finding> {
    let named = [
        ("listen.address", Some(config.listen.address)),
        ("listen.operations_address", config.listen.operations_address),
        ("ext_authz.address", config.ext_authz.as_ref().map(|asked| asked.address)),
    ];
    let given: Vec<_> = named.into_iter().filter_map(|(name, address)| Some((name, address?))).collect();
    let mut findings = Vec::new();
    for (index, (name, address)) in given.iter().enumerate() {
        let clash = given.iter().take(index).find(|(_, other)| {
            let same_host = other.ip() == address.ip() || other.ip().is_unspecified() || address.ip().is_unspecified();
            address.port() != 0 && other.port() == address.port() && same_host
        });
        if let Some((other, _)) = clash {
            let problem = format!("{address} is already used by {other}");
            findings.push(Finding::mistake(name, problem, "give it a port of its own"));
        }
    }
    findings
}

fn store(location: &StoreLocation) -> Vec<Finding> {
    let (setting, file) = match location {
        StoreLocation::Sqlite(file) => ("store.url", file),
        StoreLocation::Declared { state: Some(file), .. } => ("store.state", file),
        StoreLocation::Declared { state: None, .. } | StoreLocation::Postgres(_) => return Vec::new(),
    };
    let mut findings = Vec::new();
    findings.extend(unwritable(file).map(|problem| Finding::mistake(setting, problem, MAKE_FOLDER)));
    findings.extend(exposed(setting, file));
    findings
}

/// Returns the reason why this process cannot write or create a file.
fn unwritable(file: &Path) -> Option<String> {
    if file.is_dir() {
        return Some(format!("{} is a folder, and must be a file", file.display()));
    }
    if file.exists() {
        let refused = access(file, Access::READ_OK | Access::WRITE_OK).err()?;
        return Some(format!("{} cannot be read and written: {}", file.display(), std::io::Error::from(refused)));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Some(format!("the folder {} does not exist", folder.display()));
    }
    let refused = access(folder, Access::WRITE_OK | Access::EXEC_OK).err()?;
    Some(format!("no file can be created in the folder {}: {}", folder.display(), std::io::Error::from(refused)))
}

/// Finds files with secrets that other users may read or write.
fn secret_files(config: &Config) -> Vec<Finding> {
    let own = config.secret_files.iter().map(|file| (file.setting.as_str(), file.path.as_path()));
    let tls = config.tls.as_ref().map(|files| ("tls.private_key", files.private_key.as_path()));
    own.chain(tls).filter_map(|(setting, file)| exposed(setting, file)).collect()
}

fn exposed(setting: &str, file: &Path) -> Option<Finding> {
    let metadata = std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file)?;
    let why = private_file::exposure(&metadata)?;
    Some(Finding::warning(
        setting,
        format!("{}: {why}", file.display()),
        "set its mode to 600, or to 640 with the server's group",
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::development::Development;

    fn config(folder: &Path) -> Config {
        Development::open(folder, 0).unwrap().config().clone()
    }

    fn found(config: &Config) -> Vec<(Severity, String)> {
        findings(config, token_interceptor::clock::Clock::now(&token_interceptor::clock::SystemClock))
            .into_iter()
            .map(|finding| (finding.severity, finding.setting))
            .collect()
    }

    #[test]
    fn a_configuration_that_works_has_no_findings() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(found(&config(folder.path())), []);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("missing/file");
        let mut config = config(folder.path());
        config.telemetry.audit = AuditTarget::File(nowhere.clone());
        for location in [
            StoreLocation::Sqlite(nowhere.clone()),
            StoreLocation::Sqlite(folder.path().to_owned()),
            StoreLocation::Declared { clients: nowhere.clone(), state: Some(nowhere.clone()) },
        ] {
            config.store.location = location;
            let found = found(&config);
            assert_eq!(found.len(), 2, "{found:?}");
            assert!(found.iter().all(|(severity, _)| *severity == Severity::Mistake), "{found:?}");
        }
    }

    #[test]
    fn two_settings_with_one_port_are_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        config.listen.address = "127.0.0.1:4".parse().unwrap();
        for (other, clash) in
            [("127.0.0.1:4", true), ("0.0.0.0:4", true), ("127.0.0.2:4", false), ("127.0.0.1:5", false)]
        {
            config.listen.operations_address = Some(other.parse().unwrap());
            assert_eq!(!found(&config).is_empty(), clash, "{other}");
        }
    }

    #[test]
    fn an_http_issuer_on_a_tls_port_is_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        config.issuer = crate::config::IssuerUrl::parse("http://localhost:8443").unwrap();
        assert_eq!(found(&config), [(Severity::Mistake, "issuer.url".to_owned())]);
    }

    #[test]
    fn key_files_and_a_store_that_everybody_reads_are_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        let (pepper, store) = (folder.path().join("pepper.key"), folder.path().join("token-server.db"));
        config.secret_files =
            vec![crate::config::SecretFile { setting: "secrets.pepper_file".to_owned(), path: pepper.clone() }];
        fs::write(&store, "").unwrap();
        let readable = |file: &Path| {
            fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        };
        for file in [&pepper, &store, &config.tls.as_ref().unwrap().private_key] {
            readable(file);
        }
        let warnings = ["store.url", "secrets.pepper_file", "tls.private_key"];
        assert_eq!(found(&config), warnings.map(|setting| (Severity::Warning, setting.to_owned())));
    }
}
