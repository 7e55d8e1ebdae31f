//! The floors: servers that do nothing but answer, over the same stack with the same settings, one thread each.
//!
//! They are this program started again, so that their CPU time is counted as the issuer's is.

use std::{fs, process::Command, sync::Arc};

use axum::{Router, body::Bytes, routing};
use token_interceptor::{layer::AuthorizationLayer, policy::Policy, test_util::TestIssuer, verify::Verifier};
use token_proto::policy::{Access, MethodKind, MethodPolicy, Requirement};
use tokio::net::TcpListener;
use tonic::{service::Routes, transport::Server as GrpcServer};

use crate::{echo::Echo, process::Server, tls};

/// Which floor a started program is.
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

/// What the started program does, until it is killed.
pub(crate) fn serve(arguments: &[String]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        match arguments.as_slice() {
            ["echo"] => echo(listener).await,
            ["protected", key] => protected(listener, key).await,
            ["tls", certificate, key] => handshakes(listener, certificate, key).await,
            other => panic!("no floor {other:?}"),
        }
    });
}

fn listening(listener: &TcpListener) {
    println!("address={}", listener.local_addr().unwrap());
}

async fn echo(listener: TcpListener) {
    listening(&listener);
    let answer = http_answer();
    let http = Router::new().route("/oauth/token", routing::post(async move |_: Bytes| answer.clone()));
    let routes = Routes::new(Echo::new()).into_axum_router().merge(http).with_state(());
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    GrpcServer::builder().accept_http1(true).serve_with_incoming(Routes::from(routes), incoming).await.unwrap();
}

/// The echo behind the authorization layer. `key` is where it leaves the token that it takes.
async fn protected(listener: TcpListener, token_file: &str) {
    let issuer = TestIssuer::new("https://issuer.example");
    let token = issuer.token().scope("inventory.read").claim("exp", 4_000_000_000_u64).sign();
    fs::write(token_file, token).unwrap();
    let requirement = Requirement { all_scopes: vec!["inventory.read".into()].into(), ..Requirement::any_token() };
    let method = MethodPolicy {
        path: "/token.v1.TokenService/GetUserInfo".into(),
        audience: "inventory".into(),
        access: Access::Require(requirement),
        kind: MethodKind::Unary,
    };
    let policy = Policy::new(&[method]).unwrap().unchecked(token_interceptor::danger::UncheckedPolicy);
    let clock = token_interceptor::clock::SystemClock::shared();
    let verifier = Verifier::builder().issuer(issuer.trusted()).clock(clock).build().unwrap();
    listening(&listener);
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let mut server = GrpcServer::builder().layer(AuthorizationLayer::new(verifier, policy));
    server.add_service(Echo::new()).serve_with_incoming(incoming).await.unwrap();
}

/// Handshakes and nothing else.
async fn handshakes(listener: TcpListener, certificate: &str, key: &str) {
    let config = Arc::new(tls::server_config(certificate, key));
    listening(&listener);
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
