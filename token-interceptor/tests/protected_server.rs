//! The example program `protected_server`, as security tools see it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

#[allow(dead_code, reason = "each test uses a part of it")]
#[path = "support/http_issuer.rs"]
mod http_issuer;

#[allow(dead_code, reason = "the program's own entry point")]
#[path = "../examples/protected_server.rs"]
mod program;

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use clap::{CommandFactory as _, Parser as _};
use http_issuer::{HttpIssuer, Keys, Metadata};
use program::protected::{
    WatchResponse, protected_service_client::ProtectedServiceClient, protected_service_server::SERVICE_NAME,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use token_interceptor::{clock::Clock, test_util::TestIssuer};
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Status, Streaming,
    service::Routes,
    transport::{Channel, Identity, Server, ServerTlsConfig, server::TcpIncoming},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

/// The program, running within the test.
struct Program {
    channel: Channel,
}

impl Program {
    async fn start(issuers: &[&str], more: &[&str]) -> Self {
        let mut arguments = vec!["protected_server", "--listen", "127.0.0.1:0", "--audience", "inventory"];
        arguments.extend(more);
        arguments.extend(issuers.iter().flat_map(|issuer| ["--issuer", issuer]));
        let arguments = program::Arguments::parse_from(arguments);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { program::serve(&arguments, listener, std::future::pending()).await });
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { channel }
    }

    async fn ping(&self, token: &str) -> Result<String, Status> {
        let mut client = ProtectedServiceClient::new(self.channel.clone());
        Ok(client.ping(with(token)).await?.into_inner().client_id)
    }

    /// Waits until the token is accepted, for ten seconds at most.
    async fn lets_in(&self, token: &str) {
        let let_in = tokio::time::timeout(Duration::from_secs(10), async {
            while self.ping(token).await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let_in.await.unwrap();
    }

    async fn watch(&self, token: &str) -> Result<Streaming<WatchResponse>, Status> {
        let mut client = ProtectedServiceClient::new(self.channel.clone());
        Ok(client.watch(with(token)).await?.into_inner())
    }
}

fn with(token: &str) -> Request<()> {
    let mut request = Request::new(());
    if !token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

/// The program reads the real clock, so the issuer must write the real time.
#[allow(clippy::disallowed_methods, reason = "a process of its own reads its own clock")]
fn set_to_now(issuer: &TestIssuer) {
    let clock = issuer.clock();
    clock.advance(SystemTime::now().duration_since(clock.now()).unwrap());
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

#[tokio::test]
async fn accepts_good_tokens_and_refuses_others_over_both_methods() {
    for (path, metadata) in [("", Metadata::OpenId), ("/tenant", Metadata::OpenId), ("/tenant/a", Metadata::Rfc8414)] {
        let issuer = HttpIssuer::start(path, metadata).await;
        set_to_now(&issuer.signer);
        let program = Program::start(&[issuer.identifier()], &[]).await;
        let good = issuer.signer.token().sign();
        assert_eq!(program.ping(&good).await.unwrap(), "orders");
        assert_eq!(program.watch(&good).await.unwrap().message().await.unwrap().unwrap().sequence, 0);
        for bad in [issuer.signer.token().audience("x").sign(), format!("{good}x"), "x".into(), String::new()] {
            assert_eq!(program.ping(&bad).await.unwrap_err().code(), Code::Unauthenticated);
            assert_eq!(program.watch(&bad).await.unwrap_err().code(), Code::Unauthenticated);
        }
    }
}

#[tokio::test]
async fn trusts_several_issuers_and_serves_health_to_strangers() {
    let (first, second) =
        (HttpIssuer::start("", Metadata::OpenId).await, HttpIssuer::start("/b", Metadata::Rfc8414).await);
    set_to_now(&first.signer);
    set_to_now(&second.signer);
    let program = Program::start(&[first.identifier(), second.identifier()], &[]).await;
    program.ping(&first.signer.token().sign()).await.unwrap();
    program.ping(&second.signer.token().sign()).await.unwrap();
    let mixed = first.signer.token().sign_with(second.signer.key());
    assert_eq!(reason(&program.ping(&mixed).await.unwrap_err()), "TOKEN_INVALID");
    HealthClient::new(program.channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test]
async fn starts_while_the_issuer_is_down_and_recovers() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let identifier = format!("http://{address}");
    let program = Program::start(&[&identifier], &[]).await;
    let offline = TestIssuer::new(&identifier);
    set_to_now(&offline);
    let status = program.ping(&offline.token().sign()).await.unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "TRUST_UNAVAILABLE"));
    assert!(status.get_details_retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);

    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let issuer = HttpIssuer::serve(listener, "", Metadata::OpenId);
    set_to_now(&issuer.signer);
    let token = issuer.signer.token().sign();
    program.lets_in(&token).await;
}

#[tokio::test]
async fn finds_a_rotated_key_at_once() {
    let issuer = HttpIssuer::start("", Metadata::OpenId).await;
    set_to_now(&issuer.signer);
    let program = Program::start(&[issuer.identifier()], &[]).await;
    let old = issuer.signer.token().sign();
    program.ping(&old).await.unwrap();
    let rotated = issuer.signer.rotated();
    issuer.set_keys(Keys::Served(rotated.jwks()));
    program.ping(&rotated.token().sign()).await.unwrap();
    assert_eq!(reason(&program.ping(&old).await.unwrap_err()), "TOKEN_KEY_UNKNOWN");
}

#[tokio::test]
async fn forgets_a_removed_key_after_max_cache_age() {
    let issuer = HttpIssuer::start("", Metadata::OpenId).await;
    set_to_now(&issuer.signer);
    let program = Program::start(&[issuer.identifier()], &["--max-cache-age", "1"]).await;
    let old = issuer.signer.token().sign();
    program.ping(&old).await.unwrap();
    issuer.set_keys(Keys::Served(issuer.signer.rotated().jwks()));
    let forgotten = tokio::time::timeout(Duration::from_secs(5), async {
        while program.ping(&old).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    forgotten.await.unwrap();
}

#[tokio::test]
async fn a_flood_of_invented_keys_costs_one_fetch_per_cooldown() {
    let issuer = HttpIssuer::start("", Metadata::OpenId).await;
    set_to_now(&issuer.signer);
    let program = Program::start(&[issuer.identifier()], &["--cooldown", "600"]).await;
    let good = issuer.signer.token().sign();
    program.ping(&good).await.unwrap();
    let before = issuer.fetches();
    for number in 0..200 {
        let status = program.ping(&issuer.signer.token().header("kid", format!("k{number}")).sign()).await.unwrap_err();
        assert_eq!(reason(&status), "TOKEN_KEY_UNKNOWN");
        program.ping(&good).await.unwrap();
    }
    assert_eq!(issuer.fetches() - before, 1);
}

#[tokio::test]
async fn a_hanging_issuer_delays_only_tokens_of_unknown_keys() {
    let issuer = HttpIssuer::start("", Metadata::OpenId).await;
    set_to_now(&issuer.signer);
    let program = Program::start(&[issuer.identifier()], &[]).await;
    let good = issuer.signer.token().sign();
    program.ping(&good).await.unwrap();
    issuer.set_keys(Keys::Hangs);
    let unknown = issuer.signer.token().header("kid", "new").sign();
    let (status, ()) = tokio::join!(program.ping(&unknown), async {
        program.ping(&good).await.unwrap();
    });
    assert_eq!(reason(&status.unwrap_err()), "TRUST_UNAVAILABLE");
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let issuer = HttpIssuer::start("", Metadata::OpenId).await;
    set_to_now(&issuer.signer);
    let program = Program::start(&[issuer.identifier()], &["--leeway", "0"]).await;
    let mut stream = program.watch(&issuer.signer.token().expires_in(Duration::from_secs(2)).sign()).await.unwrap();
    let status = loop {
        match stream.message().await {
            Ok(message) => assert!(message.unwrap().sequence < 15),
            Err(status) => break status,
        }
    };
    assert_eq!((status.code(), &*reason(&status)), (Code::Unauthenticated, "TOKEN_EXPIRED"));
}

#[tokio::test]
async fn undeclared_and_oddly_spelled_paths_reach_nothing() {
    let issuer = HttpIssuer::start("", Metadata::OpenId).await;
    set_to_now(&issuer.signer);
    let program = Program::start(&[issuer.identifier()], &[]).await;
    let token = issuer.signer.token().sign();
    for path in [
        "/protected.v1.ProtectedService/Other",
        "/protected.v1.ProtectedService/ping",
        "/protected.v1.ProtectedService//Ping",
        "//protected.v1.ProtectedService/Ping",
        "/protected.v1.ProtectedService/Ping/",
        "/protected.v1.ProtectedService/./Ping",
        "/protected.v1.ProtectedService/%50ing",
        "/x/../protected.v1.ProtectedService/Ping",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/",
    ] {
        let mut grpc = tonic::client::Grpc::new(program.channel.clone());
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        let answer = grpc.unary(with(&token), path.parse().unwrap(), codec).await;
        assert_eq!(answer.unwrap_err().code(), Code::PermissionDenied, "{path}");
    }
}

#[tokio::test]
async fn plaintext_to_another_host_is_refused_unless_it_is_named_insecure() {
    // 0.0.0.0 is not a loopback address, but connects to this machine.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://0.0.0.0:{}", listener.local_addr().unwrap().port());
    let issuer = HttpIssuer::new(base, "", Metadata::OpenId);
    let router = issuer.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    set_to_now(&issuer.signer);

    let arguments = ["protected_server", "--listen", "127.0.0.1:0", "--audience", "inventory", "--issuer"];
    let arguments = program::Arguments::parse_from(arguments.into_iter().chain([issuer.identifier()]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = program::serve(&arguments, listener, std::future::pending()).await.unwrap_err();
    assert!(refused.to_string().contains("plaintext"), "{refused}");

    let program = Program::start(&[issuer.identifier()], &["--insecure-issuer"]).await;
    assert_eq!(program.ping(&issuer.signer.token().sign()).await.unwrap(), "orders");
    assert_eq!(program.ping("x").await.unwrap_err().code(), Code::Unauthenticated);
}

#[test]
fn help_names_the_path_of_every_method() {
    let help = program::Arguments::command().render_long_help().to_string();
    let methods: &[token_proto::policy::MethodPolicy] = token_proto::include_policy!();
    let mut count = 0;
    for method in methods.iter().filter(|method| method.path.starts_with(&format!("/{SERVICE_NAME}/"))) {
        assert!(help.contains(&*method.path), "{help}");
        count += 1;
    }
    assert_eq!(count, 2);
    assert!(help.contains("/grpc.health.v1.Health/Check"), "{help}");
}

/// The program in a process of its own, ready. Its drop ends it at the latest.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start(issuer: &str, environment: &[(&str, &Path)]) -> Self {
        let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/protected_server");
        if !program.exists() {
            // Needed only where these tests run alone: `cargo test` builds the examples first.
            let build = ["build", "--quiet", "--package", "token-interceptor", "--example", "protected_server"];
            assert!(Command::new(env!("CARGO")).args(build).status().unwrap().success());
        }
        let arguments = ["--listen", "127.0.0.1:0", "--audience", "inventory", "--issuer", issuer];
        let mut command = Command::new(program);
        command.args(arguments).envs(environment.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let address = ready.trim_end().strip_prefix("ready: listening on ").unwrap().to_owned();
        Self { child, address }
    }

    fn client(&self) -> Program {
        Program { channel: Channel::from_shared(format!("http://{}", self.address)).unwrap().connect_lazy() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn says_when_it_is_ready_and_ends_on_sigterm() {
    let mut process = Process::start("http://127.0.0.1:1", &[]);
    assert!(process.address.starts_with("127.0.0.1:"), "{}", process.address);
    let kill = Command::new("kill").args(["-TERM", &process.child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    assert!(process.child.wait().unwrap().success());
}

/// Returns a CA's certificate, and an identity that it issued for `localhost`; both PEM.
fn authority() -> (String, Identity) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let (issuer, key) = (Issuer::new(params, key), KeyPair::generate().unwrap());
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    (pem, Identity::from_pem(leaf.pem(), key.serialize_pem()))
}

#[tokio::test]
async fn an_https_issuer_is_trusted_by_the_certificates_of_ssl_cert_file_alone() {
    let (ca, identity) = authority();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let base = format!("https://localhost:{}", incoming.local_addr().unwrap().port());
    let issuer = HttpIssuer::new(base, "", Metadata::OpenId);
    set_to_now(&issuer.signer);
    let mut server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
    tokio::spawn(server.add_routes(Routes::from(issuer.router())).serve_with_incoming(incoming));

    let folder = tempfile::tempdir().unwrap();
    let (trusted, other) = (folder.path().join("ca.pem"), folder.path().join("other.pem"));
    std::fs::write(&trusted, ca).unwrap();
    std::fs::write(&other, authority().0).unwrap();
    let token = issuer.signer.token().sign();
    let process = Process::start(issuer.identifier(), &[("SSL_CERT_FILE", trusted.as_path())]);
    process.client().lets_in(&token).await;
    let process = Process::start(issuer.identifier(), &[("SSL_CERT_FILE", other.as_path())]);
    assert_eq!(reason(&process.client().ping(&token).await.unwrap_err()), "TRUST_UNAVAILABLE");
}
