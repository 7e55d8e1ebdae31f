//! The floors: servers that do nothing but answer, over the same stack with the same settings.

use std::net::SocketAddr;

use axum::{Router, body::Bytes, routing};
use token_proto::v1::{self, token_service_server};
use tonic::{Request, Response, Status, transport::Server};

struct Echo {
    answer: v1::IssueTokenResponse,
}

#[tonic::async_trait]
impl token_service_server::TokenService for Echo {
    async fn issue_token(&self, _: Request<v1::IssueTokenRequest>) -> Result<Response<v1::IssueTokenResponse>, Status> {
        Ok(Response::new(self.answer.clone()))
    }

    async fn get_user_info(
        &self,
        _: Request<v1::GetUserInfoRequest>,
    ) -> Result<Response<v1::GetUserInfoResponse>, Status> {
        Ok(Response::new(v1::GetUserInfoResponse::default()))
    }

    async fn exchange_token(
        &self,
        _: Request<v1::ExchangeTokenRequest>,
    ) -> Result<Response<v1::ExchangeTokenResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn introspect_token(
        &self,
        _: Request<v1::IntrospectTokenRequest>,
    ) -> Result<Response<v1::IntrospectTokenResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn revoke_token(
        &self,
        _: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        Err(Status::unimplemented(""))
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

/// Serves until the process ends, on a thread and a runtime of its own.
pub(crate) fn start() -> SocketAddr {
    let (tell, address) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name("floor".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
                let http = Router::new().route("/oauth/token", routing::post(async |body: Bytes| body));
                let grpc = tonic::service::Routes::new(token_service_server::TokenServiceServer::new(Echo {
                    answer: answer(),
                }));
                let routes = grpc.into_axum_router().merge(http).with_state(());
                Server::builder()
                    .accept_http1(true)
                    .serve_with_incoming(tonic::service::Routes::from(routes), incoming)
                    .await
            })
        })
        .unwrap();
    address.recv().unwrap()
}
