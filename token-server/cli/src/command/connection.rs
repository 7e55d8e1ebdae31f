//! The issuer that a command calls, and the client that the command authenticates as. Both come from flags,
//! the environment, or the state folder of `dev`.

pub(super) mod client_certificate;
pub(super) mod credential;
pub(super) mod named;
pub(super) mod reach;
mod state;

use std::{path::PathBuf, time::Duration};

use clap::Args;
use token_interceptor::{
    attach::{Attach, AttachLayer},
    http_client::{HttpClient, connect},
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

use super::failure::{Failure, Kind};
use client_certificate::{ClientCertificate, ClientCertificateFiles};
use credential::Identity;
use state::State;

/// The default state folder of `token-server dev`.
pub(super) const STATE_DIR: &str = ".token-server";
/// The time limit of a call, longer than any healthy response takes.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The issuer and the client, as flags and variables name them.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct Connection {
    /// The issuer's URL. Default: the issuer of `token-server dev` in the state folder.
    #[arg(long, global = true, env = "TOKEN_ISSUER", value_name = "URL")]
    pub(super) issuer: Option<String>,
    /// Trust this CA, in PEM, in place of the machine's CAs.
    #[arg(long, global = true, env = "TOKEN_CA_FILE", value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
    #[command(flatten)]
    client_certificate: ClientCertificateFiles,
    /// The state folder of `token-server dev`.
    ///
    /// Its files are read only if they belong to the user, no other user may write them, and they name an
    /// issuer on this machine.
    #[arg(long, global = true, env = "TOKEN_STATE_DIR", value_name = "DIR", default_value = STATE_DIR)]
    pub(super) state_dir: PathBuf,
    /// Authenticate as this client. The issuer must then be named too.
    ///
    /// The variable is TOKEN_CLIENT_ID for `token` and `agent`, and TOKEN_ADMIN_CLIENT_ID for `client`, `key`
    /// and `audit`.
    #[arg(long, global = true, value_name = "ID")]
    pub(super) client_id: Option<String>,
    /// A file with the client's secret.
    ///
    /// The variable TOKEN_CLIENT_SECRET or TOKEN_ADMIN_CLIENT_SECRET holds the secret itself. An argument
    /// cannot hold it, because every user of the machine can read arguments.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) client_secret_file: Option<PathBuf>,
    /// A file with the client's private key, in PEM (PKCS#8), in place of a secret (`private_key_jwt`).
    ///
    /// The variable is TOKEN_CLIENT_KEY_FILE or TOKEN_ADMIN_CLIENT_KEY_FILE. `client new-key` creates such a
    /// file.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "client_secret_file")]
    pub(super) client_key_file: Option<PathBuf>,
    /// The algorithm of that key. Only an RSA key needs it: RS256 or PS256.
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) client_key_algorithm: Option<String>,
    /// The ID (`kid`) of that key. Default: its thumbprint (RFC 7638), as `client new-key` and `add-key`
    /// register it.
    #[arg(long, global = true, value_name = "ID")]
    pub(super) client_key_id: Option<String>,
}

/// A command that calls the admin API.
#[derive(Clone, Debug, Args)]
pub(super) struct AdminCall {
    /// Print the result, and any error, as JSON.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// The kind of client: of an application, or of an operator. Each has its own variables and state file. A
/// shell that is set up for one therefore does not act as the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// `TOKEN_CLIENT_ID`, `TOKEN_CLIENT_SECRET`, `example.env`.
    Application,
    /// `TOKEN_ADMIN_CLIENT_ID`, `TOKEN_ADMIN_CLIENT_SECRET`, `admin.env`.
    Admin,
}

impl Role {
    /// The file in the state folder.
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

    /// The variable with the file of the client's private key.
    pub(super) fn key_variable(self) -> &'static str {
        match self {
            Self::Application => "TOKEN_CLIENT_KEY_FILE",
            Self::Admin => "TOKEN_ADMIN_CLIENT_KEY_FILE",
        }
    }
}

impl AdminCall {
    /// Returns the issuer, and the client to authenticate as.
    pub(super) fn target(&self) -> Result<Target, Failure> {
        self.connection.resolve(Role::Admin)
    }

    /// Connects to the issuer's admin services.
    pub(super) async fn admin(&self) -> Result<Admin, Failure> {
        self.target()?.admin().await
    }

    /// Runs `command`. If it could not reach the admin API, looks for the cause.
    pub(super) async fn run(&self, command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
        match command.await {
            Err(failure) if failure.kind() == Kind::Unavailable => Err(self.explain(failure).await),
            ended => ended,
        }
    }

    async fn explain(&self, failure: Failure) -> Failure {
        let Ok(target) = self.target() else { return failure };
        let Ok(client) = target.http_client() else { return failure };
        let look = reach::look(&client, &target.issuer).await;
        reach::without_grpc(failure, &target.issuer, look)
    }
}

/// An issuer, and the client to authenticate as.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) issuer: String,
    pub(super) ca_pem: Option<Vec<u8>>,
    pub(super) client_certificate: Option<ClientCertificate>,
    pub(super) identity: Identity,
}

impl Connection {
    /// Resolves flags first, then variables, then the state folder, which is used only for its own issuer.
    ///
    /// A client from flags or variables is sent only to an issuer from flags or variables. The current folder
    /// must not choose the receiver of a secret.
    pub(super) fn resolve(&self, role: Role) -> Result<Target, Failure> {
        let state = match &self.issuer {
            Some(issuer) => State::read(&self.state_dir, role).ok().flatten().filter(|state| &state.issuer == issuer),
            None => State::read(&self.state_dir, role)?,
        };
        let issuer = self.issuer.clone().or_else(|| state.as_ref().map(|state| state.issuer.clone()));
        let issuer = issuer.ok_or_else(|| {
            Failure::usage("no issuer is named, and no `token-server dev` has run in this directory").next(
                "start one here: token-server dev\nor name one: --issuer https://tokens.example.com (or TOKEN_ISSUER)",
            )
        })?;
        if let (None, Some(state), Some(named)) = (&self.issuer, &state, credential::named_by(self, role)) {
            let (file, own) = (state.file.display(), &state.issuer);
            return Err(Failure::usage(format!("{named} names a client, and only {file} names an issuer"))
                .next(format!("name the issuer that the client belongs to: --issuer {own} (or TOKEN_ISSUER)")));
        }
        let ca_file = self.ca_file.clone().or_else(|| Some(state.as_ref()?.get("TOKEN_CA_FILE")?.into()));
        let ca_pem = ca_file.map(|path| named::ca(&path)).transpose()?;
        let client_certificate = self.client_certificate.read()?;
        let identity = credential::identity(self, role, &issuer, state.as_ref())?;
        Ok(Target { issuer, ca_pem, client_certificate, identity })
    }
}

impl Target {
    /// Returns the client for the issuer's HTTP endpoints.
    pub(super) fn http_client(&self) -> Result<HttpClient, Failure> {
        let client = HttpClient::builder();
        let client = match &self.ca_pem {
            Some(pem) => client.extra_roots_pem(pem.clone()),
            None => client,
        };
        let client = match &self.client_certificate {
            Some(shown) => shown.show_by_http(client),
            None => client,
        };
        client.build().map_err(|error| Failure::usage("the issuer cannot be used").because(error))
    }

    /// Returns the gRPC endpoint of the issuer: its host and port, without the path of its identifier.
    fn endpoint(&self) -> Result<Endpoint, Failure> {
        let wrong = |what: &str| Failure::usage(format!("{:?} {what}", self.issuer)).next("an issuer is an https URL");
        let url = named::url(named::ISSUER, &self.issuer)?;
        let scheme = if url.is_https() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{}:{}", url.host(), url.port()))
            .map_err(|error| wrong("is not an address to connect to").because(error))?
            .connect_timeout(TIMEOUT)
            .timeout(TIMEOUT)
            .tcp_nodelay(true);
        if url.is_https() { self.with_tls(endpoint) } else { Ok(endpoint) }
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

    /// Connects to the admin services. Each call carries the token that its method requires.
    pub(super) async fn admin(&self) -> Result<Admin, Failure> {
        let endpoint = self.endpoint()?;
        let unusable = || Failure::usage(format!("{:?} cannot be used as the issuer", self.issuer));
        let issuer = IssuerBuilder::grpc(endpoint.clone());
        let Identity { client_id, credential, .. } = &self.identity;
        let source = ClientCredentials::new(client_id.as_str(), credential.clone(), issuer);
        let tokens = AttachLayer::new(source.map_err(|error| unusable().because(error))?).policy(POLICY);
        let tokens = tokens.to(endpoint.uri()).map_err(|error| unusable().because(error))?;
        // Connects before it requests a token, so that an unreachable issuer is reported as such.
        let channel = connect(&endpoint).await.map_err(|error| {
            reach::unreachable(format!("cannot reach the issuer {}", self.issuer), &self.issuer, error)
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
