//! Which issuer a command talks to, and as whom: from flags, the environment, or the state directory of `dev`.

pub(super) mod client_certificate;
pub(super) mod named;

use std::{collections::BTreeMap, env, path::PathBuf, time::Duration};

use clap::Args;
use secrecy::SecretString;
use token_interceptor::{
    attach::{Attach, TokenLayer},
    http_client::is_of_unknown_ca,
    source::{ClientCredentials, IssuerBuilder},
};
use token_proto::{
    POLICY,
    admin::v1::{
        audit_service_client::AuditServiceClient, client_service_client::ClientServiceClient,
        key_service_client::KeyServiceClient,
    },
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tower::Layer as _;

use super::failure::{Failure, Kind};
use crate::development;
use client_certificate::{ClientCertificate, ClientCertificateFiles, HINT};

/// Longer than any healthy answer takes.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Which issuer.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct Connection {
    /// The issuer's URL. Default: the one of `token-server dev` in the state directory.
    #[arg(long, global = true, env = "TOKEN_ISSUER", value_name = "URL")]
    pub(super) issuer: Option<String>,
    /// Trust this CA, in PEM, in place of the machine's.
    #[arg(long, global = true, env = "TOKEN_CA_FILE", value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
    #[command(flatten)]
    client_certificate: ClientCertificateFiles,
    /// Where `token-server dev` keeps its state.
    #[arg(long, global = true, env = "TOKEN_STATE_DIR", value_name = "DIR", default_value = super::STATE_DIR)]
    pub(super) state_dir: PathBuf,
    /// Authenticate as this client. Its secret comes from --client-secret-file or the environment.
    #[arg(long, global = true, value_name = "ID")]
    pub(super) client_id: Option<String>,
    /// A file with the client's secret; never given as an argument, which everybody on the machine can see.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) client_secret_file: Option<PathBuf>,
}

/// How a command calls the admin API, and answers.
#[derive(Debug, Args)]
pub(super) struct AdminCall {
    /// Answer in JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// As whom: an application's client, or an operator's. They have variables and state files of their own, so
/// that a shell set up for the one does not act as the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// `TOKEN_CLIENT_ID`, `TOKEN_CLIENT_SECRET`, `example.env`.
    Application,
    /// `TOKEN_ADMIN_CLIENT_ID`, `TOKEN_ADMIN_CLIENT_SECRET`, `admin.env`.
    Admin,
}

impl Role {
    /// The file in the state directory.
    pub(super) fn file_name(self) -> &'static str {
        match self {
            Self::Application => "example.env",
            Self::Admin => "admin.env",
        }
    }

    /// The variable with the client ID.
    pub(super) fn id_variable(self) -> &'static str {
        match self {
            Self::Application => "TOKEN_CLIENT_ID",
            Self::Admin => "TOKEN_ADMIN_CLIENT_ID",
        }
    }

    /// The variable with the client's secret.
    pub(super) fn secret_variable(self) -> &'static str {
        match self {
            Self::Application => "TOKEN_CLIENT_SECRET",
            Self::Admin => "TOKEN_ADMIN_CLIENT_SECRET",
        }
    }
}

impl AdminCall {
    /// The issuer, and whom to be there.
    pub(super) fn target(&self) -> Result<Target, Failure> {
        self.connection.resolve(Role::Admin)
    }

    /// The issuer's admin services.
    pub(super) async fn admin(&self) -> Result<Admin, Failure> {
        self.target()?.admin().await
    }
}

/// An issuer, and whom to be there.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) issuer: String,
    pub(super) ca_pem: Option<Vec<u8>>,
    pub(super) client_certificate: Option<ClientCertificate>,
    pub(super) client_id: String,
    pub(super) client_secret: SecretString,
}

impl Connection {
    /// Flags before variables before the state directory. What the state directory holds is used only for the
    /// issuer that it belongs to: a development secret never goes elsewhere.
    pub(super) fn resolve(&self, role: Role) -> Result<Target, Failure> {
        let state = development::read_env_file(&self.state_dir.join(role.file_name())).unwrap_or_default();
        let own = state.get("TOKEN_ISSUER").cloned();
        let issuer = self.issuer.clone().or_else(|| own.clone()).ok_or_else(|| {
            Failure::usage("no issuer is named, and no `token-server dev` has run in this directory").next(
                "start one here: token-server dev\nor name one: --issuer https://tokens.example.com (or TOKEN_ISSUER)",
            )
        })?;
        let state = if own.as_ref() == Some(&issuer) { state } else { BTreeMap::new() };
        let ca_file = self.ca_file.clone().or_else(|| state.get("TOKEN_CA_FILE").map(PathBuf::from));
        let ca_pem = ca_file.map(|path| named::ca(&path));
        let (client_id, client_secret) = self.credentials(role, &state)?;
        let client_certificate = self.client_certificate.read()?;
        Ok(Target { issuer, ca_pem: ca_pem.transpose()?, client_certificate, client_id, client_secret })
    }

    fn credentials(&self, role: Role, state: &BTreeMap<String, String>) -> Result<(String, SecretString), Failure> {
        let setting = |name: &str| env::var(name).ok().or_else(|| state.get(name).cloned());
        let missing = |what: &str, how: String| Failure::usage(format!("{what} is missing")).next(how);
        let id = self.client_id.clone().or_else(|| setting(role.id_variable()));
        let id = id.ok_or_else(|| {
            missing("the client ID", format!("give it as --client-id ID or as the variable {}", role.id_variable()))
        })?;
        let secret = match &self.client_secret_file {
            Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
                Failure::usage(format!("cannot read the secret from {}", path.display())).because(error)
            })?),
            None => setting(role.secret_variable()),
        };
        let secret = secret.ok_or_else(|| {
            let variable = role.secret_variable();
            missing("the client's secret", format!("give it in a file, --client-secret-file FILE, or as {variable}"))
        })?;
        Ok((id, SecretString::from(secret.trim().to_owned())))
    }
}

impl Target {
    /// Where the issuer speaks gRPC: its host and port, whatever path its identifier has.
    fn endpoint(&self) -> Result<Endpoint, Failure> {
        let wrong = |what: &str| Failure::usage(format!("{:?} {what}", self.issuer)).next("an issuer is an https URL");
        let url = named::url(named::ISSUER, &self.issuer)?;
        let host = url.host().ok_or_else(|| wrong("has no host"))?;
        let port = url.port_or_known_default().ok_or_else(|| wrong("has no port"))?;
        let endpoint = Endpoint::from_shared(format!("{}://{host}:{port}", url.scheme()))
            .map_err(|error| wrong("is no address to connect to").because(error))?
            .connect_timeout(TIMEOUT)
            .timeout(TIMEOUT)
            .tcp_nodelay(true);
        if url.scheme() == "http" { Ok(endpoint) } else { self.with_tls(endpoint) }
    }

    fn with_tls(&self, endpoint: Endpoint) -> Result<Endpoint, Failure> {
        let tls = match &self.ca_pem {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_enabled_roots(),
        };
        let tls = match &self.client_certificate {
            Some(shown) => shown.show_by_grpc(tls),
            None => tls,
        };
        endpoint.tls_config(tls).map_err(|error| {
            Failure::usage("the trusted certificates cannot be used")
                .because(error)
                .next("name the issuer's CA: --ca-file FILE (or TOKEN_CA_FILE)")
        })
    }

    /// The admin services, with calls that carry the tokens that they demand.
    pub(super) async fn admin(&self) -> Result<Admin, Failure> {
        let endpoint = self.endpoint()?;
        let unusable = || Failure::usage(format!("{:?} is no issuer to use", self.issuer));
        let issuer = IssuerBuilder::grpc(endpoint.clone());
        let source = ClientCredentials::new(self.client_id.as_str(), self.client_secret.clone(), issuer);
        let tokens = TokenLayer::new(source.map_err(|error| unusable().because(error))?).policy(POLICY);
        let tokens = tokens.destination(endpoint.uri()).map_err(|error| unusable().because(error))?;
        // Before any token is asked for, so that an issuer that is not there is told apart.
        let channel = endpoint.connect().await.map_err(|error| {
            let next = if is_of_unknown_ca(&error) {
                "name the CA that its certificate comes from: --ca-file FILE (or TOKEN_CA_FILE)"
            } else {
                "is it running? `token-server dev` starts one for this directory"
            };
            Failure::new(Kind::Unavailable, format!("cannot reach the issuer {}", self.issuer))
                .because(error)
                .next(format!("{next}\n{HINT}"))
        })?;
        Ok(Admin { channel: tokens.layer(channel) })
    }
}

/// The admin services of an issuer.
#[derive(Debug)]
pub(super) struct Admin {
    channel: Attach<Channel>,
}

impl Admin {
    pub(super) fn clients(&self) -> ClientServiceClient<Attach<Channel>> {
        ClientServiceClient::new(self.channel.clone())
    }

    pub(super) fn keys(&self) -> KeyServiceClient<Attach<Channel>> {
        KeyServiceClient::new(self.channel.clone())
    }

    pub(super) fn audit(&self) -> AuditServiceClient<Attach<Channel>> {
        AuditServiceClient::new(self.channel.clone())
    }
}
