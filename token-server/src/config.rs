//! The configuration: a TOML file, with environment variables on top. Every mistake is reported in one pass.
//!
//! `deploy/token-server.toml` shows each setting with its default. `[tokens] default_lifetime` in the file is
//! the variable `TOKEN_SERVER__TOKENS__DEFAULT_LIFETIME`. In a variable, commas separate the items of a list.
//!
//! | module | content |
//! |---|---|
//! | `source` | file and variables → one tree of values with their positions |
//! | `setting`, `reader` | values → types, sections, ranges; unknown settings |
//! | `listen`, `keys`, `tokens`, `client_assertions` | sections |
//! | `trusted_issuers`, `ext_authz`, `registration`, `telemetry` | sections |
//! | `mistake` | the reported mistakes |

mod client_assertions;
mod ext_authz;
mod keys;
mod listen;
mod mistake;
mod quota;
mod reader;
mod registration;
mod setting;
mod source;
mod telemetry;
mod tokens;
mod trust;
mod trusted_issuers;

use std::{cell::RefCell, path::Path};

pub use ext_authz::DescriptorPolicy;
pub use ext_authz::{AuditedDecisions, ExtAuthz};
pub use keys::{Keys, Secrets, Store};
pub use listen::{Admin, Limits, Listen, Tls};
pub use mistake::{ConfigError, Mistake, Place};
pub use reader::SecretFile;
pub use telemetry::{AuditFailure, AuditTarget, LogFormat, ResourceAttribute, Telemetry, Traces};
pub use tokens::{AudienceRules, IssuerUrl, Tokens};

use token_interceptor::signature::Algorithm;
use token_issuer::client_authentication::assertion::AssertionRules;
use token_issuer::identity_provider::IdentityProvider;
use token_issuer::registration::RegistrationSettings;
use token_issuer::{issuer::TrustStreams, limit::QuotaSettings};

use reader::{Findings, Section};
use source::{PREFIX, Table};

/// The complete configuration of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[issuer] url`: the issuer identifier, the `iss` of every token.
    pub issuer: IssuerUrl,
    /// `[listen]`.
    pub listen: Listen,
    /// `[tls]`; `None` for plaintext.
    pub tls: Option<Tls>,
    /// `[store]`.
    pub store: Store,
    /// `[keys]`.
    pub keys: Keys,
    /// `[secrets]`.
    pub secrets: Secrets,
    /// `[tokens]`.
    pub tokens: Tokens,
    /// `[client_assertions]`.
    pub client_assertions: AssertionRules,
    /// `[[trusted_issuer]]`: other issuers, and what their tokens are accepted for.
    pub trusted_issuers: Vec<IdentityProvider>,
    /// `[limits]`.
    pub limits: Limits,
    /// `[quota]`.
    pub quota: QuotaSettings,
    /// `[trust]`.
    pub trust: TrustStreams,
    /// `[admin]`.
    pub admin: Admin,
    /// `[ext_authz]`; `None` if it is off.
    pub ext_authz: Option<ExtAuthz>,
    /// `[registration]`; `None` if clients may not register themselves.
    pub registration: Option<RegistrationSettings>,
    /// `[telemetry]`.
    pub telemetry: Telemetry,
    /// The files with secrets. Their permissions are checked at start.
    pub secret_files: Vec<SecretFile>,
}

impl Config {
    /// Reads the file, if there is one, and this process's environment.
    ///
    /// # Errors
    ///
    /// All mistakes in the file and the variables.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let Some(file) = file else { return Self::read(None, variables) };
        match std::fs::read_to_string(file) {
            Ok(text) => Self::read(Some((file, &text)), variables),
            Err(error) => Err(ConfigError::new(vec![Mistake {
                place: Place::File { file: file.into(), line: 1, column: 1 },
                setting: "file".to_owned(),
                problem: error.to_string(),
                allowed: "a TOML file in UTF-8 that this process may read".to_owned(),
            }])),
        }
    }

    /// Reads a file's text and a set of environment variables.
    ///
    /// # Errors
    ///
    /// All mistakes in both.
    pub fn read(
        file: Option<(&Path, &str)>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut mistakes = Vec::new();
        let mut table = file.map_or_else(Table::new, |(path, text)| source::parse(path, text, &mut mistakes));
        source::overlay(&mut table, variables);
        let findings = Findings { mistakes: RefCell::new(mistakes), ..Findings::default() };
        let config = Self::sections(&mut Section::root(table, &findings));
        let (mistakes, secret_files) = (findings.mistakes.into_inner(), findings.secret_files.into_inner());
        match config {
            Some(config) if mistakes.is_empty() => Ok(Self { secret_files, ..config }),
            _ => Err(ConfigError::new(mistakes)),
        }
    }

    /// Returns `None` only if a mistake has been recorded.
    fn sections(root: &mut Section<'_>) -> Option<Self> {
        let issuer = IssuerUrl::read_section(root.section("issuer"));
        let tls = Tls::read(root.has("tls"), root.section("tls"));
        let listen = Listen::read(root.section("listen"), tls.is_absent());
        let store = Store::read(root.section("store"));
        let keys = Keys::read(root.section("keys"));
        let secrets = Secrets::read(root.section("secrets"));
        // If `[keys]` has a mistake, an audience's algorithm is not reported as well.
        let algorithms = keys.as_ref().map_or(Algorithm::ISSUED.to_vec(), |keys| keys.algorithms.clone());
        let tokens = Tokens::read(root.section("tokens"), &algorithms);
        let client_assertions = client_assertions::read(root.section("client_assertions"));
        let trusted_issuers = trusted_issuers::read(root, issuer.as_ref());
        let limits = Limits::read(root.section("limits"));
        let quota = quota::read(root.section("quota"));
        let has_client_ca = matches!(&tls, listen::Optional::Given(tls) if tls.client_ca.is_some());
        let trust = trust::read(root.section("trust"), has_client_ca);
        let admin = Admin::read(root.section("admin"));
        let ext_authz = ExtAuthz::read(root.has("ext_authz"), root.section("ext_authz"), tls.is_absent());
        let registration = registration::read(root.section("registration"));
        let telemetry = Telemetry::read(root.section("telemetry"));
        root.refuse_unknown();
        Some(Self {
            issuer: issuer?,
            listen: listen?,
            tls: tls.into_option()?,
            store: store?,
            keys: keys?,
            secrets: secrets?,
            tokens,
            client_assertions,
            trusted_issuers,
            limits,
            quota,
            trust,
            admin,
            ext_authz,
            registration,
            telemetry,
            secret_files: Vec::new(),
        })
    }
}

/// Returns the variable that overrides a setting.
fn variable_name(setting: &str) -> String {
    format!("{PREFIX}{}", setting.replace('.', "__").to_ascii_uppercase())
}
