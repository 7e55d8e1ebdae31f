//! The floors: servers that only respond, over the same stack with the same settings. Each has one thread,
//! unless its name says more.
//!
//! They are this program, started again, so that their CPU time is counted like the issuer's.

use std::{
    fs,
    process::Command,
    sync::{Arc, Barrier},
};

use axum::{Router, body::Bytes, routing};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use token_interceptor::{layer::AuthorizationLayer, policy::Policy, test_util::TestIssuer, verify::Verifier};
use token_proto::policy::{Access, MethodKind, MethodPolicy, Requirement};
use tokio::net::{TcpListener, TcpSocket};
use tonic::{service::Routes, transport::Server as GrpcServer};

use crate::{echo::Echo, process::Server};

/// The floor that a started program is.
pub(crate) const ARGUMENT: &str = "floor";

/// As long as a real answer over HTTP.
fn http_answer() -> Bytes {
    let token = "x".repeat(520);
    format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":300,"refresh_in":245,"scope":"inventory.read"}}"#)
        .into()
}

/// Starts a floor.
pub(crate) fn start(arguments: &[&str]) -> Server {
    Server::start(Command::new(std::env::current_exe().unwrap()).arg(ARGUMENT).args(arguments)).unwrap()
}

/// Runs the started program until it is killed.
pub(crate) fn serve(arguments: &[String]) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["echo"] => on_one_thread(async { echo(listen().await).await }),
        ["protected", token, bare] => on_one_thread(protected(token, bare)),
        ["tls", certificate, key] => on_one_thread(handshakes(certificate, key)),
        ["shared port", threads] => shared_port(threads.parse().unwrap()),
        ["shared runtime", threads] => shared_runtime(threads.parse().unwrap()),
        other => panic!("no floor {other:?}"),
    }
}

fn on_one_thread(floor: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(floor);
}

/// Listens, and prints the address.
async fn listen() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("address={}", listener.local_addr().unwrap());
    listener
}

/// A runtime for each thread, with a socket of its own on a port that they share: the kernel distributes
/// connections by their addresses.
fn shared_port(threads: usize) {
    let socket = || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseport(true).unwrap();
        socket
    };
    // Bound but never listening: it reserves the port.
    let first = socket();
    first.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = first.local_addr().unwrap();
    let all_listen = Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        for number in 0..threads {
            let thread = std::thread::Builder::new().name(format!("worker-{number}"));
            let serve = async {
                let socket = socket();
                socket.bind(address).unwrap();
                let listener = socket.listen(1024).unwrap();
                all_listen.wait();
                echo(listener).await;
            };
            thread.spawn_scoped(scope, || on_one_thread(serve)).unwrap();
        }
        all_listen.wait();
        println!("address={address}");
    });
}

/// One runtime that moves work between its threads.
fn shared_runtime(threads: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
    runtime.block_on(async { tokio::spawn(echo(listen().await)).await.unwrap() });
}

async fn echo(listener: TcpListener) {
    let answer = http_answer();
    let http = Router::new().route("/oauth/token", routing::post(async move |_: Bytes| answer.clone()));
    let routes = Routes::new(Echo::new()).into_axum_router().merge(http).with_state(());
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    GrpcServer::builder().accept_http1(true).serve_with_incoming(Routes::from(routes), incoming).await.unwrap();
}

/// The echo behind the authorization layer, and in the same process the bare one: two processes that do the
/// same differ by more than the layer does. It leaves the token that it takes, and the address of the bare
/// echo, in files.
async fn protected(token_file: &str, bare_file: &str) {
    let issuer = TestIssuer::new("https://issuer.example");
    let token = issuer.token().scope("inventory.read").claim("exp", 4_000_000_000_u64).sign();
    fs::write(token_file, token).unwrap();
    let requirement = Requirement::any_token().with_all_scopes(["inventory.read"]);
    let method = MethodPolicy::new(
        "/m2m.token.v1.TokenService/GetUserInfo".into(),
        "inventory".into(),
        Access::Require(requirement),
        MethodKind::Unary,
    );
    let policy = Policy::new(&[method]).unwrap().unchecked(token_interceptor::danger::UncheckedPolicy);
    let clock = token_interceptor::clock::SystemClock::shared();
    let verifier = Verifier::builder().issuer(issuer.trusted()).clock(clock).build().unwrap();
    let bare = TcpListener::bind("127.0.0.1:0").await.unwrap();
    fs::write(bare_file, bare.local_addr().unwrap().to_string()).unwrap();
    let bare = tonic::transport::server::TcpIncoming::from(bare).with_nodelay(Some(true));
    tokio::spawn(GrpcServer::builder().add_service(Echo::new()).serve_with_incoming(bare));
    let incoming = tonic::transport::server::TcpIncoming::from(listen().await).with_nodelay(Some(true));
    let mut server = GrpcServer::builder().layer(AuthorizationLayer::new(verifier, policy));
    server.add_service(Echo::new()).serve_with_incoming(incoming).await.unwrap();
}

fn server_config(certificate: &str, key: &str) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// Handshakes and nothing else.
async fn handshakes(certificate: &str, key: &str) {
    let config = Arc::new(server_config(certificate, key));
    let listener = listen().await;
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&config));
        tokio::spawn(async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 64]).await;
            }
        });
    }
}
