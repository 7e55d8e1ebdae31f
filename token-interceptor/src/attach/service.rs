//! One call: token, header, call. If the callee's layer refuses the token: a new token and a second call,
//! once.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, header::AUTHORIZATION, request::Parts, uri::PathAndQuery};
use tokio::time::{Instant, timeout_at};
use tonic::{Status, body::Body};
use tower::Service;

use super::{
    answer,
    calls::{Calls, Carried},
    deadline::Deadline,
    replay::{self, Outgoing},
    watched::{Sent, Watched, path_of},
};
use crate::{
    mark::{self, Stage},
    refresh::{self, FreshToken},
};

/// A service whose calls carry tokens: a channel behind [`AttachLayer`](super::AttachLayer). Clones are
/// cheap.
#[derive(Clone, Debug)]
pub struct Attach<S> {
    inner: S,
    calls: Arc<Calls>,
}

impl<S> Attach<S> {
    pub(super) fn new(inner: S, calls: Arc<Calls>) -> Self {
        Self { inner, calls }
    }
}

impl<S, B> Service<Request<Body>> for Attach<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body + Send + 'static,
{
    type Response = Response<Watched<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (token, optional, replayable) = match self.calls.carried(&request) {
            Ok(Carried::Token { token, optional, replayable }) => (token, optional, replayable),
            Ok(carried @ (Carried::Unchanged | Carried::Removed)) => {
                if matches!(carried, Carried::Removed) {
                    request.headers_mut().remove(AUTHORIZATION);
                }
                let call = self.inner.call(request);
                return Box::pin(async move { Ok(unmarked(call.await?)) });
            }
            Err(refusal) => {
                let status = refusal.into_status();
                return Box::pin(async move { Ok(status.into_http()) });
            }
        };
        let source = Waiting { token, wait_max: self.calls.choices.wait_max(optional) };
        let call = Call { optional, replayable, deadline: Deadline::of(request.headers()), source };
        let next = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, next);
        match call.source.token.ready() {
            // The call is sent before its future is made, so the future of every call is small.
            Some(token) => match call.send(ready, request, token) {
                Ok(sent) => Box::pin(sent.answered()),
                Err(status) => Box::pin(async move { Ok(status.into_http()) }),
            },
            // The ready instance may hold a permit of the channel. A call that waits for its token releases
            // it, so that calls that need no token can proceed.
            None => Box::pin(call.wait(self.inner.clone(), request)),
        }
    }
}

/// A call that needs a token.
struct Call {
    /// True if the call is sent without a token where there is none.
    optional: bool,
    /// False for streams, which are never sent twice.
    replayable: bool,
    deadline: Option<Deadline>,
    source: Waiting,
}

/// The token, and the longest wait for it.
struct Waiting {
    token: FreshToken,
    wait_max: Duration,
}

/// A call that was sent with its token.
struct Attempt<S, F> {
    answer: F,
    service: S,
    deadline: Option<Deadline>,
    source: Waiting,
    /// The token's generation.
    generation: u64,
    /// The marks of refusals name it.
    path: Option<PathAndQuery>,
    /// The head and the message of a call that may be sent once more.
    again: Option<(Parts, Bytes)>,
}

impl Call {
    /// Sends the call. `service` is ready.
    fn send<S, B>(
        self,
        mut service: S,
        mut request: Request<Body>,
        token: refresh::Ready,
    ) -> Result<Attempt<S, S::Future>, Status>
    where
        S: Service<Request<Body>, Response = Response<B>>,
    {
        let refresh::Ready { token, generation } = token;
        request.headers_mut().insert(AUTHORIZATION, token.into_header());
        let (head, body) = request.into_parts();
        let Outgoing { body, replay } = if self.replayable { Outgoing::look_at(body)? } else { Outgoing::once(body) };
        let path = head.uri.path_and_query().cloned();
        let again = replay.map(|message| (head.clone(), message));
        let answer = service.call(Request::from_parts(head, body));
        let Self { deadline, source, .. } = self;
        Ok(Attempt { answer, service, deadline, source, generation, path, again })
    }

    /// Waits for the token, and then for the service.
    async fn wait<S, B>(self, mut service: S, mut request: Request<Body>) -> Result<Response<Watched<B>>, S::Error>
    where
        S: Service<Request<Body>, Response = Response<B>>,
    {
        let token = match self.source.wait(self.deadline).await {
            Ok(token) => Some(token),
            Err(_) if self.optional => None,
            Err(status) => return Ok(status.into_http()),
        };
        poll_fn(|context| service.poll_ready(context)).await?;
        if self.deadline.is_some_and(|deadline| !deadline.write_rest(request.headers_mut())) {
            return Ok(answer::deadline_exceeded().into_http());
        }
        let Some(token) = token else {
            // It may be the token of the caller whom the program serves.
            request.headers_mut().remove(AUTHORIZATION);
            return Ok(unmarked(service.call(request).await?));
        };
        match self.send(service, request, token) {
            Ok(sent) => sent.answered().await,
            Err(status) => Ok(status.into_http()),
        }
    }
}

impl<S, F, B> Attempt<S, F>
where
    S: Service<Request<Body>, Response = Response<B>, Future = F>,
    F: Future<Output = Result<Response<B>, S::Error>>,
{
    /// Waits for the answer. The future holds `self` once; that of an `async fn` would hold it twice, and be
    /// too large for the fast lists of the allocator.
    #[expect(clippy::manual_async_fn, reason = "the future of an `async fn` is twice as large")]
    fn answered(self) -> impl Future<Output = Result<Response<Watched<B>>, S::Error>> {
        async move {
            let mut response = self.answer.await?;
            let Some(stage) = replay::refused(response.headers_mut(), path_of(&self.path)) else {
                return Ok(self.source.watch(response, self.generation, self.path));
            };
            let Some((head, message)) = self.again.filter(|_| stage == Stage::BeforeHandler) else {
                self.source.token.reject(self.generation);
                return Ok(unmarked(response));
            };
            let refused = Refused { response, generation: self.generation, head, message, path: self.path };
            // Boxed, because few calls get here.
            Box::pin(self.source.replay(self.service, refused, self.deadline)).await
        }
    }
}

/// A call whose token the callee's layer refused before the handler ran.
struct Refused<B> {
    response: Response<B>,
    /// The refused token's generation.
    generation: u64,
    head: Parts,
    message: Bytes,
    path: Option<PathAndQuery>,
}

impl Waiting {
    async fn wait(&self, deadline: Option<Deadline>) -> Result<refresh::Ready, Status> {
        let patience = Instant::now() + self.wait_max;
        let until = deadline.map_or(patience, |deadline| deadline.at().min(patience));
        match timeout_at(until, self.token.wait()).await {
            Ok(Ok(ready)) => Ok(ready),
            Ok(Err(error)) => Err(answer::no_token(&error).into_status()),
            Err(_) if deadline.is_some_and(|deadline| deadline.at() <= until) => Err(answer::deadline_exceeded()),
            Err(_) => Err(answer::too_slow().into_status()),
        }
    }

    /// Sends the call once more with a newer token, if one arrives in time.
    async fn replay<S, B>(
        self,
        mut service: S,
        refused: Refused<B>,
        deadline: Option<Deadline>,
    ) -> Result<Response<Watched<B>>, S::Error>
    where
        S: Service<Request<Body>, Response = Response<B>>,
    {
        let Refused { response, generation, head, message, path } = refused;
        let Some((newer, head)) = self.replacement(generation, deadline, head).await else {
            return Ok(unmarked(response));
        };
        poll_fn(|context| service.poll_ready(context)).await?;
        metrics::counter!("token_client_replays_total").increment(1);
        let mut response = service.call(Request::from_parts(head, replay::one_message(message))).await?;
        if replay::refused(response.headers_mut(), path_of(&path)).is_some() {
            self.token.reject(newer);
            return Ok(unmarked(response));
        }
        Ok(self.watch(response, newer, path))
    }

    /// Returns the head of the second attempt and its token's generation, if a token other than the refused
    /// one arrives in time.
    async fn replacement(&self, refused: u64, deadline: Option<Deadline>, mut head: Parts) -> Option<(u64, Parts)> {
        let patience = Instant::now() + self.wait_max;
        let until = deadline.map_or(patience, |deadline| deadline.at().min(patience));
        let newer = timeout_at(until, self.token.replacement(refused)).await.ok()??;
        let in_time = deadline.is_none_or(|deadline| deadline.write_rest(&mut head.headers));
        let before = head.headers.insert(AUTHORIZATION, newer.token.into_header());
        // A source that returns the same token again has no better one.
        let better = before.as_ref() != head.headers.get(AUTHORIZATION);
        (in_time && better).then_some((newer.generation, head))
    }

    fn watch<B>(self, response: Response<B>, generation: u64, path: Option<PathAndQuery>) -> Response<Watched<B>> {
        let sent = Sent { token: self.token, generation, path };
        response.map(|body| Watched::new(body, Some(sent)))
    }
}

/// Removes the mark from an answer: the program could pass it on as its own.
fn unmarked<B>(mut response: Response<B>) -> Response<Watched<B>> {
    mark::remove(response.headers_mut());
    response.map(|body| Watched::new(body, None))
}
