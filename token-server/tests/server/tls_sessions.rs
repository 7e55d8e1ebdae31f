//! TLS: the supported versions and cipher suites, and the checks of a resumed session.

use std::{fs, net::SocketAddr, sync::Arc};

use rustls::{
    CipherSuite, ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    ca::Ca,
    tls::{start, start_for},
};

/// Every AEAD suite with ephemeral keys that ring has, and nothing else.
const SUITES: [CipherSuite; 9] = [
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// A client that resumes its sessions if the server allows it.
fn client(
    ca: &Ca,
    identity: Option<(String, String)>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let builder = builder.with_root_certificates(roots);
    Arc::new(match identity {
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
        None => builder.with_no_client_auth(),
    })
}

/// The result of a handshake.
#[derive(Debug)]
struct Spoken {
    kind: HandshakeKind,
    version: ProtocolVersion,
    suite: CipherSuite,
}

async fn speak(address: SocketAddr, client: &Arc<ClientConfig>) -> std::io::Result<Spoken> {
    let stream = TcpStream::connect(address).await?;
    let connector = TlsConnector::from(Arc::clone(client));
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    // In TLS 1.3, both the rejection of a certificate and a ticket come after the handshake.
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let connection = stream.get_ref().1;
    Ok(Spoken {
        kind: connection.handshake_kind().unwrap(),
        version: connection.protocol_version().unwrap(),
        suite: connection.negotiated_cipher_suite().unwrap().suite(),
    })
}

#[tokio::test]
async fn a_session_of_a_client_root_that_is_gone_is_not_resumed() {
    for version in [&TLS12, &TLS13] {
        let (ca, clients, others) = (Ca::new(), Ca::new(), Ca::new());
        let (folder, server) = start_for(&ca, &clients).await;
        let client = client(&ca, Some(clients.leaf()), version);
        assert_eq!(speak(server.local_addr(), &client).await.unwrap().kind, HandshakeKind::Full);
        // Without this the next assertion would prove nothing.
        assert_eq!(speak(server.local_addr(), &client).await.unwrap().kind, HandshakeKind::Resumed);

        fs::write(folder.path().join("client-ca.pem"), others.pem()).unwrap();
        server.reload();
        let refused = speak(server.local_addr(), &client).await;
        assert!(refused.is_err(), "{version:?}: {refused:?}");
    }
}

#[tokio::test]
async fn after_a_renewal_a_session_begins_anew_and_is_resumed_again() {
    for version in [&TLS12, &TLS13] {
        let ca = Ca::new();
        let (folder, server) = start(&ca, |_, _| {}).await;
        let client = client(&ca, None, version);
        let kind = async || speak(server.local_addr(), &client).await.unwrap().kind;
        assert_eq!([kind().await, kind().await], [HandshakeKind::Full, HandshakeKind::Resumed], "{version:?}");
        let (certificate, key) = ca.leaf();
        fs::write(folder.path().join("tls.crt"), certificate).unwrap();
        fs::write(folder.path().join("tls.key"), key).unwrap();
        server.reload();
        assert_eq!([kind().await, kind().await], [HandshakeKind::Full, HandshakeKind::Resumed], "{version:?}");
    }
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_with_authenticated_encryption_and_ephemeral_keys() {
    let ca = Ca::new();
    let (_folder, server) = start(&ca, |_, _| {}).await;
    for version in [&TLS12, &TLS13] {
        let spoken = speak(server.local_addr(), &client(&ca, None, version)).await.unwrap();
        assert_eq!(spoken.version, version.version);
        assert!(SUITES.contains(&spoken.suite), "{spoken:?}");
    }
}

/// An outdated ClientHello, written by hand because no current library sends one. RFC 5246 section 7.4.1.2.
fn hello(version: [u8; 2], suites: &[u16]) -> Vec<u8> {
    let suites: Vec<u8> = suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend(u16::try_from(suites.len()).unwrap().to_be_bytes());
    body.extend(suites);
    body.extend([1, 0]);
    // server_name, supported_groups, ec_point_formats, signature_algorithms: the extensions that a server
    // needs to agree.
    let extensions: [&[u8]; 4] = [
        b"\x00\x00\x00\x0e\x00\x0c\x00\x00\x09localhost",
        &[0, 10, 0, 6, 0, 4, 0, 23, 0, 29],
        &[0, 11, 0, 2, 1, 0],
        &[0, 13, 0, 10, 0, 8, 4, 3, 4, 1, 8, 4, 2, 1],
    ];
    let extensions = extensions.concat();
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let mut handshake = vec![1];
    handshake.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
    handshake.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(handshake.len()).unwrap().to_be_bytes());
    record.extend(handshake);
    record
}

/// Returns the type of the first record of the response, and its first bytes: for an alert, its level and
/// description.
async fn answer(address: SocketAddr, hello: &[u8]) -> (u8, [u8; 2]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(hello).await.unwrap();
    let mut head = [0; 7];
    stream.read_exact(&mut head).await.unwrap();
    (head[0], [head[5], head[6]])
}

#[tokio::test]
async fn older_versions_and_weaker_suites_are_refused_by_name() {
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    const FATAL: u8 = 2;
    const HANDSHAKE_FAILURE: u8 = 40;
    const PROTOCOL_VERSION: u8 = 70;
    const SERVER_HELLO: u8 = 2;
    let ca = Ca::new();
    let (_folder, server) = start(&ca, |_, _| {}).await;
    let good = 0xc02b_u16; // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
    let (kind, [message, _]) = answer(server.local_addr(), &hello([3, 3], &[good])).await;
    assert_eq!((kind, message), (HANDSHAKE, SERVER_HELLO), "the hello itself is a good one");
    for (name, version) in [("SSL 3.0", [3, 0]), ("TLS 1.0", [3, 1]), ("TLS 1.1", [3, 2])] {
        let told = answer(server.local_addr(), &hello(version, &[good])).await;
        assert_eq!(told, (ALERT, [FATAL, PROTOCOL_VERSION]), "{name}");
    }
    for (name, suite) in [
        ("TLS_RSA_WITH_AES_128_CBC_SHA", 0x002f),
        ("TLS_RSA_WITH_AES_128_GCM_SHA256", 0x009c),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", 0xc009),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", 0xc023),
        ("TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", 0x009e),
        ("TLS_ECDHE_ECDSA_WITH_NULL_SHA", 0xc006),
    ] {
        let told = answer(server.local_addr(), &hello([3, 3], &[suite])).await;
        assert_eq!(told, (ALERT, [FATAL, HANDSHAKE_FAILURE]), "{name}");
    }
}
