//! The called service: notes which token each call came with, and refuses as its switch says.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use http::HeaderMap;
use token_interceptor::status::Answer;
use token_proto::token::v1::ErrorReason;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::Router},
};

use crate::inventory::{
    self as pb,
    inventory_service_server::{InventoryService, InventoryServiceServer},
};

/// What becomes of a call whose token is `token-1`.
#[derive(Clone, Debug, Default)]
pub enum Verdict {
    /// Let through, as every other.
    #[default]
    Accept,
    /// Refused by the layer, with our reason.
    Refuse(ErrorReason),
    /// The same for every token that comes.
    RefuseAll(ErrorReason),
    /// The handler's own UNAUTHENTICATED, which is not ours.
    HandlerSays,
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

    /// The tokens that calls came with, in order, each once in a row.
    pub fn tokens(&self) -> Vec<Option<String>> {
        let mut tokens: Vec<_> = self.attempts().into_iter().map(|attempt| attempt.token).collect();
        tokens.dedup();
        tokens
    }

    /// How often a handler ran.
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
            Verdict::Refuse(_) | Verdict::Accept | Verdict::HandlerSays | Verdict::CutStream(_) => Ok(()),
        }
    }

    fn handle<T>(&self, message: T) -> Result<Response<T>, Status> {
        self.handled.fetch_add(1, Ordering::SeqCst);
        match &*self.verdict.lock().unwrap() {
            Verdict::HandlerSays => Err(Status::unauthenticated("your session at the shop has ended")),
            _ => Ok(Response::new(message)),
        }
    }
}

pub fn router(callee: Arc<Callee>) -> Router {
    let gate = Arc::clone(&callee);
    let admit = move |request: Request<()>| {
        gate.admit(request.metadata().as_ref())?;
        Ok(request)
    };
    Server::builder().add_service(InventoryServiceServer::with_interceptor(Service(callee), admit))
}

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
            sender.try_send(Err(Answer::new(*reason, "cut").into_status())).unwrap();
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
