//! One call: token, header, call. If the callee's layer refuses the token: a new token and a second call,
//! once.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

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

/// The longest wait of a call that may go without its token. A token usually comes much sooner.
const OPTIONAL_WAIT_MAX: Duration = Duration::from_secs(1);

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
        let in_hand = token.ready();
        let next = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, next);
        // The ready instance may hold a permit of the channel. A call that waits for its token releases it,
        // so that calls that need no token can proceed.
        let service = if in_hand.is_some() { Ready::Now(ready) } else { Ready::Later(self.inner.clone()) };
        let wait_max = self.calls.choices.wait_max;
        let wait_max = if optional { wait_max.min(OPTIONAL_WAIT_MAX) } else { wait_max };
        let call = Call { service, optional, replayable, source: Waiting { token, wait_max } };
        Box::pin(call.run(request, in_hand))
    }
}

/// An instance of the service below.
enum Ready<S> {
    /// `poll_ready` has returned ready for it.
    Now(S),
    /// `poll_ready` has to be called first.
    Later(S),
}

impl<S> Ready<S> {
    async fn get<B>(self) -> Result<S, S::Error>
    where
        S: Service<Request<Body>, Response = Response<B>>,
    {
        match self {
            Self::Now(service) => Ok(service),
            Self::Later(mut service) => {
                poll_fn(|context| service.poll_ready(context)).await?;
                Ok(service)
            }
        }
    }
}

struct Call<S> {
    service: Ready<S>,
    /// True if the call is sent without a token where there is none.
    optional: bool,
    /// False for streams, which are never sent twice.
    replayable: bool,
    source: Waiting,
}

/// The token, and the longest wait for it.
struct Waiting {
    token: FreshToken,
    wait_max: Duration,
}

impl<S, B> Call<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
{
    async fn run(
        self,
        mut request: Request<Body>,
        in_hand: Option<refresh::Ready>,
    ) -> Result<Response<Watched<B>>, S::Error> {
        let Self { service, optional, replayable, source } = self;
        let deadline = Deadline::of(request.headers());
        let token = match in_hand {
            Some(token) => token,
            None => match source.wait(deadline).await {
                Ok(token) => token,
                Err(_) if optional => return anonymous(service, request, deadline).await,
                Err(status) => return Ok(status.into_http()),
            },
        };
        let waited = matches!(service, Ready::Later(_));
        let mut service = service.get().await?;
        if waited && deadline.is_some_and(|deadline| !deadline.write_rest(request.headers_mut())) {
            return Ok(answer::deadline_exceeded().into_http());
        }
        let refresh::Ready { token, generation } = token;
        request.headers_mut().insert(AUTHORIZATION, token.into_header());
        let (head, body) = request.into_parts();
        let outgoing = if replayable { Outgoing::look_at(body) } else { Ok(Outgoing::once(body)) };
        let Outgoing { body, replay } = match outgoing {
            Ok(outgoing) => outgoing,
            Err(status) => return Ok(status.into_http()),
        };
        // The marks of refusals name it.
        let path = head.uri.path_and_query().cloned();
        let again = replay.map(|message| (head.clone(), message));
        let mut response = service.call(Request::from_parts(head, body)).await?;
        let Some(stage) = replay::refused(response.headers_mut(), path_of(&path)) else {
            return Ok(source.watch(response, generation, path));
        };
        let Some((head, message)) = again.filter(|_| stage == Stage::BeforeHandler) else {
            source.token.reject(generation);
            return Ok(unmarked(response));
        };
        let Some((newer, head)) = source.replacement(generation, deadline, head).await else {
            return Ok(unmarked(response));
        };
        poll_fn(|context| service.poll_ready(context)).await?;
        metrics::counter!("token_client_replays_total").increment(1);
        let mut response = service.call(Request::from_parts(head, replay::one_message(message))).await?;
        if replay::refused(response.headers_mut(), path_of(&path)).is_some() {
            source.token.reject(newer);
            return Ok(unmarked(response));
        }
        Ok(source.watch(response, newer, path))
    }
}

/// Sends a call for which there is no token, to a method that needs none.
async fn anonymous<S, B>(
    service: Ready<S>,
    mut request: Request<Body>,
    deadline: Option<Deadline>,
) -> Result<Response<Watched<B>>, S::Error>
where
    S: Service<Request<Body>, Response = Response<B>>,
{
    // It may be the token of the caller whom the program serves.
    request.headers_mut().remove(AUTHORIZATION);
    let mut service = service.get().await?;
    if deadline.is_some_and(|deadline| !deadline.write_rest(request.headers_mut())) {
        return Ok(answer::deadline_exceeded().into_http());
    }
    Ok(unmarked(service.call(request).await?))
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
