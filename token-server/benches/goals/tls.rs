//! TLS handshakes, compared with a server that does nothing else.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::{ClientConfig, RootCertStore, client::Resumption};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{floor, issuer::Site, load::median, process::Server, report::Row};

/// Handshakes at once.
const AT_ONCE: usize = 8;
/// Connections that stay open, for the measurement of their memory.
const KEPT: u32 = 500;
const ROUNDS: usize = 3;
const DURATION: Duration = Duration::from_secs(1);

pub(crate) fn measure() -> Vec<Row> {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.pem"), folder.path().join("tls.key"));
    make_certificate(&certificate, &key);
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let listen = "threads = 1";
    let site = Site::new(0, listen, &format!("[tls]\ncertificate = \"{certificate}\"\nprivate_key = \"{key}\""));
    let (floor, issuer) = (floor::start(&["tls", certificate, key]), site.start());
    let config = Arc::new(client_config(certificate, b"http/1.1"));
    let mut measured = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for (server, measured) in [&floor, &issuer].into_iter().zip(&mut measured) {
            let micros = handshakes(server, &config);
            if round > 0 {
                measured.push(micros);
            }
        }
    }
    let [floor, issuer] = measured.map(|micros| median(micros.into_iter()));
    let ratio = issuer / floor;
    let kept = memory_of_connections(&site.start(), &Arc::new(client_config(certificate, b"h2")));
    vec![
        Row::floor("floor: TLS 1.3 handshake, rustls alone (ECDSA P-256)", format!("{floor:.0} µs of CPU")),
        Row::floor(
            "TLS 1.3 handshake at the issuer: accept, hand over, handshake, HTTP connection, close",
            format!("{issuer:.0} µs of CPU, {ratio:.2} ×: {:.0} a second and core", 1e6 / issuer),
        ),
        Row::floor(
            "an HTTP/2 connection over TLS that has asked once and stays open",
            format!("{kept:.0} KiB resident, of {KEPT} of them"),
        ),
    ]
}

fn make_certificate(certificate: &Path, key: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(certificate, made.cert.pem()).unwrap();
    fs::write(key, made.signing_key.serialize_pem()).unwrap();
    #[cfg(unix)]
    fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// Full handshakes only: without resumption.
fn client_config(certificate: &str, protocol: &[u8]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![protocol.to_vec()];
    config
}

/// Microseconds of the server's CPU time for each.
fn handshakes(server: &Server, config: &Arc<ClientConfig>) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (cpu, until) = (server.cpu(), Instant::now() + DURATION);
        let tasks = (0..AT_ONCE).map(|_| tokio::spawn(repeat(server.address, Arc::clone(config), until)));
        let mut count = 0;
        for task in tasks.collect::<Vec<_>>() {
            count += task.await.unwrap();
        }
        (server.cpu() - cpu).as_secs_f64() * 1e6 / f64::from(count)
    })
}

/// KiB of the server's memory for each.
fn memory_of_connections(server: &Server, config: &Arc<ClientConfig>) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut open = vec![ask_once(server.address, config).await];
        let before = server.resident_mib();
        for _ in 0..KEPT {
            open.push(ask_once(server.address, config).await);
        }
        (server.resident_mib() - before) * 1024.0 / f64::from(KEPT)
    })
}

async fn ask_once(address: SocketAddr, config: &Arc<ClientConfig>) -> SendRequest<Bytes> {
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://localhost/jwks.json").body(()).unwrap();
    let (answer, _) = requests.send_request(request, true).unwrap();
    assert!(answer.await.unwrap().status().is_success());
    requests
}

async fn repeat(address: SocketAddr, config: Arc<ClientConfig>, until: Instant) -> u32 {
    let connector = tokio_rustls::TlsConnector::from(config);
    let mut count = 0;
    while Instant::now() < until {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        let _ = stream.shutdown().await;
        count += 1;
    }
    count
}
