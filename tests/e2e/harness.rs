//! A running issuer, clients for its protocols, and the log of the whole run.

use std::{
    io,
    sync::{Mutex, OnceLock},
};

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use token_interceptor::{
    attach::{Attach, AttachLayer},
    http_client::{HttpClient, HttpResponse},
    source::{ClientCredentials, IssuerBuilder},
};
use token_proto::{POLICY, admin::v1::client_service_client::ClientServiceClient, token::v1};
use token_server::development::{Development, DevelopmentClient, RunningDevelopment};
use tonic::{
    Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tonic_types::StatusExt as _;

/// A development issuer in its own folder.
pub(crate) struct Issuer {
    running: RunningDevelopment,
    ca_pem: String,
    /// Secrets and tokens, which must not appear in the log.
    confidential: Mutex<Vec<String>>,
    _folder: tempfile::TempDir,
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        log();
        let folder = tempfile::tempdir().unwrap();
        let running = Development::open(&folder.path().join("issuer"), 0).unwrap().start().await.unwrap();
        let ca_pem = std::fs::read_to_string(&running.ca_file).unwrap();
        let confidential = [&running.example, &running.admin].map(|client| client.secret.expose_secret().to_owned());
        Self { running, ca_pem, confidential: Mutex::new(confidential.into()), _folder: folder }
    }

    pub(crate) fn url(&self) -> &str {
        self.running.server.issuer().as_str()
    }

    /// The client that may request `inventory.read` at `inventory`.
    pub(crate) fn example(&self) -> &DevelopmentClient {
        &self.running.example
    }

    pub(crate) fn admin(&self) -> &DevelopmentClient {
        &self.running.admin
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.ca_pem));
        Endpoint::from_shared(self.url().to_owned()).unwrap().tls_config(tls).unwrap()
    }

    pub(crate) fn channel(&self) -> Channel {
        self.endpoint().connect_lazy()
    }

    pub(crate) fn http(&self) -> HttpClient {
        HttpClient::builder().extra_roots_pem(self.ca_pem.clone()).build().unwrap()
    }

    /// A layer that gets tokens for `client` over gRPC, for this project's own services.
    pub(crate) fn tokens(&self, client: &DevelopmentClient) -> AttachLayer {
        let source = ClientCredentials::new(
            client.id.as_str(),
            client.secret.expose_secret(),
            IssuerBuilder::grpc(self.endpoint()),
        );
        AttachLayer::new(source.unwrap()).policy(POLICY)
    }

    /// The admin API, called as `client`.
    pub(crate) fn clients_as(&self, client: &DevelopmentClient) -> ClientServiceClient<Attach<Channel>> {
        ClientServiceClient::new(self.tokens(client).connect_lazy(&self.endpoint()).unwrap())
    }

    /// Calls `POST /oauth/token` with `client_secret_post`.
    pub(crate) async fn post_token(&self, id: &str, secret: &str, more: &[(&str, &str)]) -> HttpResponse {
        let form =
            [&[("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)], more].concat();
        let url = format!("{}/oauth/token", self.url()).parse().unwrap();
        let response = self.http().post_form(&url, &form, None).await.unwrap();
        if let Some(token) = json(&response)["access_token"].as_str() {
            self.keep_secret(token);
        }
        response
    }

    /// Calls `TokenService.IssueToken` with a client secret.
    pub(crate) async fn issue_token(&self, id: &str, secret: &str, audience: &str) -> Result<v1::Token, Status> {
        let request = v1::IssueTokenRequest {
            client: Some(v1::ClientAuthentication {
                client_id: id.to_owned(),
                credential: Some(v1::client_authentication::Credential::ClientSecret(secret.to_owned())),
            }),
            audiences: vec![audience.to_owned()],
            ..Default::default()
        };
        let response = v1::token_service_client::TokenServiceClient::new(self.channel()).issue_token(request).await?;
        let token = response.into_inner().token.unwrap();
        self.keep_secret(&token.value);
        Ok(token)
    }

    pub(crate) async fn token_of(&self, client: &DevelopmentClient, audience: &str) -> String {
        self.issue_token(&client.id, client.secret.expose_secret(), audience).await.unwrap().value
    }

    /// Registers a secret that must not appear in the log.
    pub(crate) fn keep_secret(&self, secret: &str) {
        self.confidential.lock().unwrap().push(secret.to_owned());
    }

    /// Stops the issuer, and checks that the log, audit included, contains no secret and no token.
    pub(crate) async fn stop(self) {
        self.running.server.shutdown().await;
        let log = String::from_utf8_lossy(&log().lock().unwrap()).into_owned();
        assert!(log.contains("token_server"), "the log is empty");
        for secret in self.confidential.into_inner().unwrap() {
            // A leaked signature does as much harm as the whole token.
            let telling = secret.rsplit('.').next().unwrap();
            assert!(!log.contains(telling), "a secret or token is in the log");
        }
    }
}

/// Returns the body as JSON; null if it is not JSON.
pub(crate) fn json(response: &HttpResponse) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_default()
}

/// Returns the reason of this project's error.
pub(crate) fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

pub(crate) fn secret(text: &str) -> SecretString {
    text.to_owned().into()
}

/// All tracing output of this process, at the most verbose level.
fn log() -> &'static Mutex<Vec<u8>> {
    static LOG: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
    LOG.get_or_init(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(|| Log)
            .init();
        Mutex::default()
    })
}

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        log().lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
