//! Servers for one test each, and a bare HTTP/1.1 client.

use std::{fs, net::SocketAddr, path::Path};

use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use token_proto::token::v1::{
    ClientAuthentication, IssueTokenRequest, client_authentication::Credential,
    token_service_client::TokenServiceClient,
};
use token_server::{
    config::Config,
    development::{Development, RunningDevelopment},
    server::Running,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{
    Request, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

/// A configuration in plaintext on loopback, with everything in `folder`.
pub(crate) fn config(folder: &Path) -> Config {
    for name in ["sealing.key", "pepper.key"] {
        fs::write(folder.join(name), "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=").unwrap();
    }
    let folder = folder.display();
    let text = format!(
        r#"
        issuer.url = "http://127.0.0.1:0"
        listen = {{ address = "127.0.0.1:0", threads = 1 }}
        store.url = "sqlite://{folder}/token-server.db"
        keys.sealing_key_file = "{folder}/sealing.key"
        secrets.pepper_file = "{folder}/pepper.key"
        "#
    );
    Config::read(Some((Path::new("test.toml"), &text)), []).unwrap()
}

/// A server in plaintext.
pub(crate) async fn plaintext(change: impl FnOnce(&mut Config)) -> (TempDir, Running) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    change(&mut config);
    let running = Running::start(config).await.unwrap();
    (folder, running)
}

/// The same, with a port for operators.
pub(crate) async fn observed(change: impl FnOnce(&mut Config)) -> (TempDir, Running) {
    plaintext(|config| {
        config.listen.operations_address = Some("127.0.0.1:0".parse().unwrap());
        change(config);
    })
    .await
}

/// Returns the metrics of the operators' port.
pub(crate) async fn metrics(server: &Running) -> String {
    get(server.operations_addr().unwrap(), "/metrics").await
}

/// A development issuer, over TLS.
pub(crate) async fn development(change: impl FnOnce(&mut Config)) -> (TempDir, RunningDevelopment) {
    let folder = tempfile::tempdir().unwrap();
    let mut development = Development::open(folder.path(), 0).unwrap();
    change(development.config_mut());
    let running = development.start().await.unwrap();
    (folder, running)
}

/// A gRPC channel to it.
pub(crate) async fn channel(dev: &RunningDevelopment) -> Channel {
    let ca = Certificate::from_pem(fs::read(&dev.ca_file).unwrap());
    let endpoint = Endpoint::from_shared(dev.server.issuer().as_str().to_owned()).unwrap();
    endpoint.tls_config(ClientTlsConfig::new().ca_certificate(ca)).unwrap().connect().await.unwrap()
}

/// A token by `client_secret`, for the client's defaults.
pub(crate) async fn issue(dev: &RunningDevelopment, id: &str, secret: &str) -> Result<String, Status> {
    let credential = Some(Credential::ClientSecret(secret.to_owned()));
    let client = Some(ClientAuthentication { client_id: id.to_owned(), credential });
    let request = IssueTokenRequest { client, ..IssueTokenRequest::default() };
    let answer = TokenServiceClient::new(channel(dev).await).issue_token(request).await?;
    Ok(answer.into_inner().token.unwrap().value)
}

/// Creates a request to the admin API by a client with every scope.
pub(crate) async fn as_admin<T>(dev: &RunningDevelopment, message: T) -> Request<T> {
    let token = issue(dev, &dev.admin.id, dev.admin.secret.expose_secret()).await.unwrap();
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// Sends a request as it is written, and reads to the end of the connection.
pub(crate) async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to_end(&mut stream).await
}

/// Reads until the connection ends in any way.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while let Ok(read) = stream.read(&mut part).await {
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&part[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// A GET over HTTP/1.1.
pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await
}
