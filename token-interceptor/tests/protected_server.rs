//! The example program `protected_server`, as security tools meet it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

#[allow(dead_code, reason = "each test uses a part of it")]
#[path = "support/http_issuer.rs"]
mod http_issuer;

#[allow(dead_code, reason = "the program's own entry point")]
#[path = "../examples/protected_server.rs"]
mod program;

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use clap::Parser as _;
use http_issuer::{HttpIssuer, Keys, Metadata};
use program::protected::{WatchResponse, protected_service_client::ProtectedServiceClient};
use token_interceptor::{clock::Clock, test_util::TestIssuer};
use tokio::net::TcpListener;
use tonic::{Code, Request, Status, Streaming, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

/// The program, serving within the test.
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
async fn trusts_several_issuers_and_serves_health_to_anybody() {
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
    let recovered = tokio::time::timeout(Duration::from_secs(10), async {
        while program.ping(&token).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    recovered.await.unwrap();
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
async fn a_flood_of_invented_keys_costs_one_fetch_per_cooldown_and_disturbs_nobody() {
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

/// The only test that needs a process of its own.
#[test]
fn says_when_it_is_ready_and_ends_on_sigterm() {
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/protected_server");
    if !program.exists() {
        // Only where this test alone is run: `cargo test` builds the examples first.
        let build = ["build", "--quiet", "--package", "token-interceptor", "--example", "protected_server"];
        assert!(Command::new(env!("CARGO")).args(build).status().unwrap().success());
    }
    let arguments = ["--listen", "127.0.0.1:0", "--audience", "inventory", "--issuer", "http://127.0.0.1:1"];
    let mut child = Command::new(program).args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert!(ready.starts_with("ready: listening on 127.0.0.1:"), "{ready}");
    let kill = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    assert!(child.wait().unwrap().success());
}
