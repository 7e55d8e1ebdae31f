//! The hot paths, each run a number of times.

use std::hint::black_box;

use http::{Request, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use token_server::{config::Config, server::Running, telemetry};
use tonic::body::Body;
use tower::Service as _;

use crate::{
    attach_case::{self, Attaching},
    issuer::{CLIENT_ID, Site, secret},
    turns::nothing,
    verify_case::Verification,
};

pub(crate) const NAMES: [&str; 5] = ["issue over gRPC", "issue over HTTP", "verify, new", "verify, seen", "attach"];

pub(crate) fn run(path: &str, times: u32) {
    match path {
        "issue over gRPC" => issue(times, grpc),
        "issue over HTTP" => issue(times, form),
        "verify, new" => {
            let case = Verification::new();
            walk(times, || case.new_token());
        }
        "verify, seen" => {
            let case = Verification::new();
            walk(times, || drop(black_box(case.whole_layer(case.request()))));
        }
        "attach" => {
            let case = Attaching::new();
            walk(times, || {
                black_box(nothing(attach_case::request()));
                black_box(case.whole_layer(attach_case::request()));
            });
        }
        other => panic!("no path {other:?}"),
    }
}

/// Runs once for first-use initialization, and then the number of times that is counted.
fn walk(times: u32, mut once: impl FnMut()) {
    once();
    counted(|| (0..times).for_each(|_| once()));
}

/// Callgrind counts the instructions in here and nothing else, because those of a start vary with the load of
/// the machine.
#[inline(never)]
fn counted(walk: impl FnOnce()) {
    walk();
}

/// The issuer with everything on, called without a socket.
fn issue(times: u32, request: fn() -> Request<Body>) {
    let site = Site::new(0, "threads = 1", "");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config::read(Some((site.config_file().as_path(), site.settings())), []).unwrap();
    let _writers = telemetry::init(&config.telemetry).unwrap();
    let running = runtime.block_on(Running::start(config)).unwrap();
    let mut service = running.service();
    let mut ask = async |times| {
        for _ in 0..times {
            let answer = service.call(request()).await.unwrap();
            assert!(answer.status().is_success());
            black_box(answer.into_body().collect().await.unwrap());
        }
    };
    runtime.block_on(ask(1));
    counted(|| runtime.block_on(ask(times)));
}

fn grpc() -> Request<Body> {
    let message = token_proto::token::v1::IssueTokenRequest {
        client: Some(token_proto::token::v1::ClientAuthentication {
            client_id: CLIENT_ID.to_owned(),
            credential: Some(token_proto::token::v1::client_authentication::Credential::ClientSecret(
                secret().to_owned(),
            )),
        }),
        audiences: vec!["inventory".to_owned()],
        ..token_proto::token::v1::IssueTokenRequest::default()
    };
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = [&[0], &length[..], &message].concat();
    let request = Request::post("http://localhost/m2m.token.v1.TokenService/IssueToken").version(http::Version::HTTP_2);
    request.header(CONTENT_TYPE, "application/grpc").body(Body::new(Full::from(body))).unwrap()
}

fn form() -> Request<Body> {
    let secret = secret();
    let body = format!("grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={secret}&audience=inventory");
    let request = Request::post("/oauth/token").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    request.body(Body::new(Full::from(body))).unwrap()
}
