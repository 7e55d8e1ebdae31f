//! TLS: certificates and client roots that change while the server runs.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tempfile::TempDir;
use token_interceptor::{
    http_client::HttpClient,
    source::{ClientCredentials, IssuerBuilder, TokenRequest, TokenSource as _},
};
use token_server::{config::Tls, server::Running};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use crate::{ca::Ca, harness::config};

pub(crate) async fn start(ca: &Ca, change: impl FnOnce(&mut Tls, &Path)) -> (TempDir, Running) {
    let folder = tempfile::tempdir().unwrap();
    ca.write_leaf(folder.path());
    let mut config = config(folder.path());
    let mut tls = Tls {
        certificate: folder.path().join("tls.crt"),
        private_key: folder.path().join("tls.key"),
        client_ca: None,
        client_certificate_required: false,
        reload_interval: std::time::Duration::from_secs(3600),
    };
    change(&mut tls, folder.path());
    config.tls = Some(tls);
    let running = Running::start(config).await.unwrap();
    (folder, running)
}

/// Requests /healthz. Returns the server's certificate and the first line of its response.
async fn ask(
    address: SocketAddr,
    roots: &[&Ca],
    client: Option<(String, String)>,
) -> std::io::Result<(Vec<u8>, String)> {
    let mut store = RootCertStore::empty();
    for ca in roots {
        store.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(store);
    let config = match client {
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect(address).await?;
    let mut stream =
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await?;
    let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8(answer).unwrap();
    Ok((certificate, answer.lines().next().unwrap_or_default().to_owned()))
}

#[tokio::test]
async fn renewed_certificate_is_served_without_a_restart() {
    let ca = Ca::new();
    let (folder, server) = start(&ca, |_, _| {}).await;
    let (before, answer) = ask(server.local_addr(), &[&ca], None).await.unwrap();
    assert_eq!(answer, "HTTP/1.1 200 OK");
    ca.write_leaf(folder.path());
    server.reload();
    let (after, answer) = ask(server.local_addr(), &[&ca], None).await.unwrap();
    assert_eq!(answer, "HTTP/1.1 200 OK");
    assert_ne!(before, after);
}

#[tokio::test]
async fn changed_files_are_found_without_a_signal() {
    let ca = Ca::new();
    let (folder, server) = start(&ca, |tls, _| tls.reload_interval = std::time::Duration::from_millis(5)).await;
    let (before, _) = ask(server.local_addr(), &[&ca], None).await.unwrap();
    ca.write_leaf(folder.path());
    while ask(server.local_addr(), &[&ca], None).await.unwrap().0 == before {}
}

#[tokio::test]
async fn files_that_cannot_be_used_leave_the_old_certificate_in_place() {
    let ca = Ca::new();
    let (folder, server) = start(&ca, |_, _| {}).await;
    let (before, _) = ask(server.local_addr(), &[&ca], None).await.unwrap();
    let (_, foreign_key) = ca.leaf();
    for broken in ["", "-----BEGIN nothing-----", &foreign_key] {
        fs::write(folder.path().join("tls.key"), broken).unwrap();
        server.reload();
        let (after, _) = ask(server.local_addr(), &[&ca], None).await.unwrap();
        assert_eq!(before, after);
    }
}

/// A server that demands certificates of `clients`.
pub(crate) async fn start_for(ca: &Ca, clients: &Ca) -> (TempDir, Running) {
    start(ca, |tls, folder| {
        fs::write(folder.join("client-ca.pem"), clients.pem()).unwrap();
        tls.client_ca = Some(folder.join("client-ca.pem"));
        tls.client_certificate_required = true;
    })
    .await
}

#[tokio::test]
async fn client_certificate_is_demanded_where_it_is_required() {
    let (ca, clients, others) = (Ca::new(), Ca::new(), Ca::new());
    let (_folder, server) = start_for(&ca, &clients).await;
    let address = server.local_addr();
    assert!(ask(address, &[&ca], None).await.is_err());
    assert!(ask(address, &[&ca], Some(others.leaf())).await.is_err());
    assert!(ask(address, &[&ca], Some(clients.leaf())).await.is_ok());
}

#[tokio::test]
async fn renewed_client_roots_let_in_the_new_and_keep_out_the_old_without_a_restart() {
    let (ca, old, new) = (Ca::new(), Ca::new(), Ca::new());
    let (folder, server) = start_for(&ca, &old).await;
    let address = server.local_addr();
    assert!(ask(address, &[&ca], Some(new.leaf())).await.is_err());

    // The usual procedure: trust both, until every client has a certificate of the new CA.
    fs::write(folder.path().join("client-ca.pem"), format!("{}{}", old.pem(), new.pem())).unwrap();
    server.reload();
    for clients in [&old, &new] {
        assert!(ask(address, &[&ca], Some(clients.leaf())).await.is_ok());
    }

    fs::write(folder.path().join("client-ca.pem"), new.pem()).unwrap();
    server.reload();
    assert!(ask(address, &[&ca], Some(old.leaf())).await.is_err());
    assert!(ask(address, &[&ca], Some(new.leaf())).await.is_ok());
}

#[tokio::test]
async fn client_roots_that_cannot_be_used_leave_the_old_in_place() {
    let (ca, clients, others) = (Ca::new(), Ca::new(), Ca::new());
    let (folder, server) = start_for(&ca, &clients).await;
    let file = folder.path().join("client-ca.pem");
    let damaged = others.pem().replacen("MII", "AAA", 1);
    for broken in ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &damaged] {
        fs::write(&file, broken).unwrap();
        server.reload();
        assert!(ask(server.local_addr(), &[&ca], Some(clients.leaf())).await.is_ok(), "{broken}");
        assert!(ask(server.local_addr(), &[&ca], Some(others.leaf())).await.is_err(), "{broken}");
        assert!(ask(server.local_addr(), &[&ca], None).await.is_err(), "{broken}");
    }
    fs::remove_file(&file).unwrap();
    server.reload();
    assert!(ask(server.local_addr(), &[&ca], None).await.is_err());
    assert!(ask(server.local_addr(), &[&ca], Some(clients.leaf())).await.is_ok());
}

fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut next = Some(error);
    let chain = std::iter::from_fn(|| next.inspect(|error| next = error.source()).map(ToString::to_string));
    chain.collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn a_client_without_the_ca_gets_the_remedy() {
    let (ca, other) = (Ca::new(), Ca::new());
    let (_folder, server) = start(&ca, |_, _| {}).await;
    let place = format!("https://localhost:{}", server.local_addr().port());

    let over_http = HttpClient::builder().extra_roots_pem(other.pem()).build().unwrap();
    let error = over_http.get(&place.parse().unwrap()).await.unwrap_err();
    assert!(error.is_transient());
    for expected in ["SSL_CERT_FILE", "HttpClientBuilder::extra_roots_pem", "invalid peer certificate"] {
        assert!(causes(&error).contains(expected), "{expected}: {}", causes(&error));
    }

    let trusted = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(other.pem()));
    let endpoint = Endpoint::from_shared(place).unwrap().tls_config(trusted).unwrap();
    let source = ClientCredentials::new("a", "b", IssuerBuilder::grpc(endpoint)).unwrap();
    let error = source.fetch(&TokenRequest::for_audience("inventory")).await.unwrap_err();
    for expected in ["SSL_CERT_FILE", "ClientTlsConfig::ca_certificate", "invalid peer certificate"] {
        assert!(causes(&error).contains(expected), "{expected}: {}", causes(&error));
    }
}

#[tokio::test]
async fn start_says_which_file_cannot_be_used() {
    let ca = Ca::new();
    let folder = tempfile::tempdir().unwrap();
    ca.write_leaf(folder.path());
    fs::write(folder.path().join("tls.crt"), "nothing").unwrap();
    let mut config = config(folder.path());
    config.tls = Some(Tls {
        certificate: folder.path().join("tls.crt"),
        private_key: folder.path().join("tls.key"),
        client_ca: None,
        client_certificate_required: false,
        reload_interval: std::time::Duration::from_secs(3600),
    });
    let error = Running::start(config).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("tls.crt holds no usable PEM certificate"), "{error}: {source}");
}
