//! An issuer that the test controls, and that counts requests.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use token_interceptor::status::Answer;
use token_proto::token::v1::{
    self as pb, token_service_server::TokenService, token_service_server::TokenServiceServer,
};
use tokio::time::{Instant, sleep};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::Router},
};

/// The issuer's behaviour for the next requests.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Answers with a token at once.
    Issue,
    /// Answers with a token after a delay.
    Stall(Duration),
    /// Answers with an error after a delay.
    Fail(Duration, Answer),
    /// Answers like a broken proxy in between.
    Broken(tonic::Code),
    /// Answers with a token that cannot be sent.
    Garbage,
}

pub struct Issuer {
    pub behaviour: Mutex<Behaviour>,
    pub lifetime: Mutex<(Duration, Duration)>,
    pub asked: Mutex<Vec<(Instant, pb::IssueTokenRequest)>>,
    pub server_time: Mutex<Option<SystemTime>>,
    pub exchanged: Mutex<Vec<pb::ExchangeTokenRequest>>,
    issued: AtomicU64,
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            behaviour: Mutex::new(Behaviour::Issue),
            lifetime: Mutex::new((Duration::from_secs(60), Duration::from_secs(30))),
            asked: Mutex::default(),
            server_time: Mutex::default(),
            exchanged: Mutex::default(),
            issued: AtomicU64::new(0),
        }
    }
}

impl Issuer {
    pub fn set(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// Sets the lifetime, and the time of renewal.
    pub fn lifetime(&self, expires_in: u64, refresh_after: u64) {
        *self.lifetime.lock().unwrap() = (Duration::from_secs(expires_in), Duration::from_secs(refresh_after));
    }

    pub fn requests(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// Returns the requests, as text.
    pub fn asked_for(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .map(|(_, request)| format!("{}: {}", request.audiences.join(" "), request.scopes.join(" ")))
            .collect()
    }

    /// Returns the pauses between requests.
    pub fn pauses(&self) -> Vec<Duration> {
        let asked = self.asked.lock().unwrap();
        asked.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
    }

    fn token(&self, value: String) -> pb::IssueTokenResponse {
        let (expires_in, refresh_after) = *self.lifetime.lock().unwrap();
        pb::IssueTokenResponse {
            token: Some(pb::Token {
                value,
                token_type: "Bearer".into(),
                expires_in: expires_in.try_into().ok(),
                refresh_after: refresh_after.try_into().ok(),
                ..pb::Token::default()
            }),
            server_time: self.server_time.lock().unwrap().map(Into::into),
        }
    }
}

pub fn router(issuer: Arc<Issuer>) -> Router {
    Server::builder().add_service(TokenServiceServer::new(Service(issuer)))
}

struct Service(Arc<Issuer>);

#[tonic::async_trait]
impl TokenService for Service {
    async fn issue_token(
        &self,
        request: Request<pb::IssueTokenRequest>,
    ) -> Result<Response<pb::IssueTokenResponse>, Status> {
        self.0.asked.lock().unwrap().push((Instant::now(), request.into_inner()));
        let behaviour = self.0.behaviour.lock().unwrap().clone();
        match behaviour {
            Behaviour::Issue => {}
            Behaviour::Stall(time) => sleep(time).await,
            Behaviour::Fail(time, answer) => {
                sleep(time).await;
                return Err(answer.into_status());
            }
            Behaviour::Broken(code) => return Err(Status::new(code, "from a proxy")),
            Behaviour::Garbage => return Ok(Response::new(self.0.token("not a token".into()))),
        }
        let number = self.0.issued.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(Response::new(self.0.token(format!("token-{number}"))))
    }

    async fn exchange_token(
        &self,
        request: Request<pb::ExchangeTokenRequest>,
    ) -> Result<Response<pb::ExchangeTokenResponse>, Status> {
        let mut exchanged = self.0.exchanged.lock().unwrap();
        exchanged.push(request.into_inner());
        let answer = self.0.token(format!("exchanged-{}", exchanged.len()));
        Ok(Response::new(pb::ExchangeTokenResponse { token: answer.token, server_time: None }))
    }

    async fn introspect_token(
        &self,
        _: Request<pb::IntrospectTokenRequest>,
    ) -> Result<Response<pb::IntrospectTokenResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn revoke_token(
        &self,
        _: Request<pb::RevokeTokenRequest>,
    ) -> Result<Response<pb::RevokeTokenResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn get_user_info(
        &self,
        _: Request<pb::GetUserInfoRequest>,
    ) -> Result<Response<pb::GetUserInfoResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}
