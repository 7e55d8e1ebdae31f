//! The smallest tonic service: two methods with fixed responses.
//!
//! Written as tonic generates it, with tonic's own codec. The issuer has the contract's codec, which is part
//! of the comparison.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use token_proto::token::v1;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;
use tower::Service;

type Answering<T> = Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>;

/// The methods of `m2m.token.v1.TokenService` that are called.
#[derive(Clone)]
pub(crate) struct Echo(Arc<v1::IssueTokenResponse>);

impl Echo {
    pub(crate) fn new() -> Self {
        Self(Arc::new(answer()))
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "m2m.token.v1.TokenService";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path().ends_with("/IssueToken") {
            let issue = IssueToken(Arc::clone(&self.0));
            Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(issue, request).await) })
        } else {
            Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(GetUserInfo, request).await) })
        }
    }
}

struct IssueToken(Arc<v1::IssueTokenResponse>);

impl UnaryService<v1::IssueTokenRequest> for IssueToken {
    type Response = v1::IssueTokenResponse;
    type Future = Answering<Response<v1::IssueTokenResponse>>;

    fn call(&mut self, _: Request<v1::IssueTokenRequest>) -> Self::Future {
        let answer = Arc::clone(&self.0);
        Box::pin(async move { Ok(Response::new(v1::IssueTokenResponse::clone(&answer))) })
    }
}

struct GetUserInfo;

impl UnaryService<v1::GetUserInfoRequest> for GetUserInfo {
    type Response = v1::GetUserInfoResponse;
    type Future = Answering<Response<v1::GetUserInfoResponse>>;

    fn call(&mut self, _: Request<v1::GetUserInfoRequest>) -> Self::Future {
        Box::pin(async { Ok(Response::new(v1::GetUserInfoResponse::default())) })
    }
}

/// As long as a real answer.
fn answer() -> v1::IssueTokenResponse {
    let time = Some(prost_types::Timestamp { seconds: 1_767_225_600, nanos: 0 });
    let lifetime = Some(prost_types::Duration { seconds: 300, nanos: 0 });
    v1::IssueTokenResponse {
        token: Some(v1::Token {
            value: "x".repeat(520),
            token_type: "Bearer".to_owned(),
            issued_token_type: "urn:ietf:params:oauth:token-type:access_token".to_owned(),
            expires_in: lifetime,
            refresh_after: lifetime,
            expire_time: time,
            audiences: vec!["inventory".to_owned()],
            scopes: vec!["inventory.read".to_owned()],
            token_id: "x".repeat(22),
        }),
        server_time: time,
    }
}
