//! The hot paths, each to be walked so many times.

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
            (0..times).for_each(|_| case.new_token());
        }
        "verify, seen" => {
            let case = Verification::new();
            for _ in 0..times {
                black_box(case.whole_layer(case.request()));
            }
        }
        "attach" => {
            let case = Attaching::new();
            for _ in 0..times {
                black_box(nothing(attach_case::request()));
                black_box(case.whole_layer(attach_case::request()));
            }
        }
        other => panic!("no path {other:?}"),
    }
}

/// The issuer with everything on, asked without a socket.
fn issue(times: u32, request: fn() -> Request<Body>) {
    let site = Site::new(0, "threads = 1", "");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = Config::read(Some((site.config_file().as_path(), site.settings())), []).unwrap();
        let _writers = telemetry::init(&config.telemetry).unwrap();
        let running = Running::start(config).await.unwrap();
        let mut service = running.service();
        for _ in 0..times {
            let answer = service.call(request()).await.unwrap();
            assert!(answer.status().is_success());
            black_box(answer.into_body().collect().await.unwrap());
        }
    });
}

fn grpc() -> Request<Body> {
    let message = token_proto::v1::IssueTokenRequest {
        client: Some(token_proto::v1::ClientAuthentication {
            client_id: CLIENT_ID.to_owned(),
            credential: Some(token_proto::v1::client_authentication::Credential::ClientSecret(secret().to_owned())),
        }),
        audiences: vec!["inventory".to_owned()],
        ..token_proto::v1::IssueTokenRequest::default()
    };
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = [&[0], &length[..], &message].concat();
    let request = Request::post("http://localhost/token.v1.TokenService/IssueToken").version(http::Version::HTTP_2);
    request.header(CONTENT_TYPE, "application/grpc").body(Body::new(Full::from(body))).unwrap()
}

fn form() -> Request<Body> {
    let secret = secret();
    let body = format!("grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={secret}&audience=inventory");
    let request = Request::post("/oauth/token").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    request.body(Body::new(Full::from(body))).unwrap()
}
