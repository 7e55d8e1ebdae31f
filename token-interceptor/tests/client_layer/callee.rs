//! The called service: records each call's token, and refuses calls as its switch says.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use http::HeaderMap;
use token_interceptor::status::Answer;
use token_proto::token::v1::ErrorReason;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::NamedService,
    transport::{Server, server::Router},
};

use crate::inventory::{
    self as pb,
    inventory_service_server::{InventoryService, InventoryServiceServer},
};

/// The fate of a call whose token is `token-1`.
#[derive(Clone, Debug, Default)]
pub enum Verdict {
    /// Admitted, like every other call.
    #[default]
    Accept,
    /// Refused by the layer, with our reason.
    Refuse(ErrorReason),
    /// Refused for every token.
    RefuseAll(ErrorReason),
    /// The handler's own UNAUTHENTICATED, without our reason.
    HandlerSays,
    /// The handler runs and then answers with our reason, about another token.
    HandlerRefuses(ErrorReason),
    /// A stream that begins, and ends with our reason in its trailers.
    CutStream(ErrorReason),
}

#[derive(Default)]
pub struct Callee {
    pub verdict: Mutex<Verdict>,
    /// Every attempt's `authorization`, in order.
    pub attempts: Mutex<Vec<Attempt>>,
    handled: AtomicUsize,
}

#[derive(Clone, Debug)]
pub struct Attempt {
    pub token: Option<String>,
    pub timeout: Option<String>,
}

impl Callee {
    pub fn set(&self, verdict: Verdict) {
        *self.verdict.lock().unwrap() = verdict;
    }

    pub fn attempts(&self) -> Vec<Attempt> {
        self.attempts.lock().unwrap().clone()
    }

    /// Returns the tokens of the calls, in order, without adjacent repeats.
    pub fn tokens(&self) -> Vec<Option<String>> {
        let mut tokens: Vec<_> = self.attempts().into_iter().map(|attempt| attempt.token).collect();
        tokens.dedup();
        tokens
    }

    /// Returns the number of handler runs.
    pub fn handled(&self) -> usize {
        self.handled.load(Ordering::SeqCst)
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(), Status> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let token = text("authorization").and_then(|value| value.strip_prefix("Bearer ").map(str::to_owned));
        let first = token.as_deref() == Some("token-1");
        self.attempts.lock().unwrap().push(Attempt { token, timeout: text("grpc-timeout") });
        match &*self.verdict.lock().unwrap() {
            Verdict::Refuse(reason) if first => Err(Answer::new(*reason, "refused").into_status()),
            Verdict::RefuseAll(reason) => Err(Answer::new(*reason, "refused").into_status()),
            Verdict::Refuse(_)
            | Verdict::Accept
            | Verdict::HandlerSays
            | Verdict::HandlerRefuses(_)
            | Verdict::CutStream(_) => Ok(()),
        }
    }

    fn handle<T>(&self, message: T) -> Result<Response<T>, Status> {
        self.handled.fetch_add(1, Ordering::SeqCst);
        match &*self.verdict.lock().unwrap() {
            Verdict::HandlerSays => Err(Status::unauthenticated("your session at the shop has ended")),
            Verdict::HandlerRefuses(reason) => Err(Answer::new(*reason, "of another token").into_status()),
            _ => Ok(Response::new(message)),
        }
    }
}

/// The field that marks a server layer's own refusals.
pub const MARK: &str = "token-refused";

pub fn router(callee: Arc<Callee>) -> Router {
    let service = InventoryServiceServer::new(Service(Arc::clone(&callee)));
    Server::builder().add_service(Gate { service, callee })
}

/// Refuses instead of the service and marks the refusal, as the server layer does.
#[derive(Clone)]
struct Gate {
    service: InventoryServiceServer<Service>,
    callee: Arc<Callee>,
}

impl NamedService for Gate {
    const NAME: &'static str = <InventoryServiceServer<Service> as NamedService>::NAME;
}

impl tower::Service<http::Request<Body>> for Gate {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        tower::Service::<http::Request<Body>>::poll_ready(&mut self.service, context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match self.callee.admit(request.headers()) {
            Ok(()) => self.service.call(request),
            Err(mut status) => {
                let mark = format!("before-handler {}", request.uri().path());
                status.metadata_mut().insert(MARK, mark.parse().unwrap());
                Box::pin(async move { Ok(status.into_http()) })
            }
        }
    }
}

#[derive(Clone)]
struct Service(Arc<Callee>);

type Items = ReceiverStream<Result<pb::ListItemsResponse, Status>>;

#[tonic::async_trait]
impl InventoryService for Service {
    type ListItemsStream = Items;

    async fn get_item(&self, _: Request<pb::GetItemRequest>) -> Result<Response<pb::GetItemResponse>, Status> {
        self.0.handle(pb::GetItemResponse::default())
    }

    async fn list_items(&self, _: Request<pb::ListItemsRequest>) -> Result<Response<Items>, Status> {
        let (sender, items) = tokio::sync::mpsc::channel(4);
        sender.try_send(Ok(pb::ListItemsResponse::default())).unwrap();
        if let Verdict::CutStream(reason) = &*self.0.verdict.lock().unwrap() {
            let mut status = Answer::new(*reason, "cut").into_status();
            let mark = "after-handler /inventory.v1.InventoryService/ListItems";
            status.metadata_mut().insert(MARK, mark.parse().unwrap());
            sender.try_send(Err(status)).unwrap();
        }
        self.0.handle(ReceiverStream::new(items))
    }

    async fn delete_item(&self, _: Request<pb::DeleteItemRequest>) -> Result<Response<pb::DeleteItemResponse>, Status> {
        self.0.handle(pb::DeleteItemResponse {})
    }

    async fn get_opening_hours(
        &self,
        _: Request<pb::GetOpeningHoursRequest>,
    ) -> Result<Response<pb::GetOpeningHoursResponse>, Status> {
        self.0.handle(pb::GetOpeningHoursResponse::default())
    }
}
