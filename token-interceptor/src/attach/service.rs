//! One call: token, header, call; and where the callee's layer refuses the token, a new one, once.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, header::AUTHORIZATION, request::Parts};
use tokio::time::{Instant, timeout_at};
use tonic::{Status, body::Body};
use tower::Service;

use super::{
    TokenLayer, answer,
    deadline::Deadline,
    replay::{self, Outgoing},
    routes::Carried,
    watched::{Sent, Watched},
};
use crate::refresh::{FreshToken, Ready};

/// A service whose calls carry tokens: what [`TokenLayer`] makes of a channel.
#[derive(Clone, Debug)]
pub struct Attach<S> {
    inner: S,
    layer: TokenLayer,
}

impl<S> Attach<S> {
    pub(super) fn new(inner: S, layer: TokenLayer) -> Self {
        Self { inner, layer }
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

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Carried { token, unary } = match self.layer.token_for(&request) {
            Ok(Some(carried)) => carried,
            Ok(None) => {
                let call = self.inner.call(request);
                return Box::pin(async move { Ok(call.await?.map(|body| Watched::new(body, None))) });
            }
            Err(refusal) => {
                let status = refusal.into_status();
                return Box::pin(async move { Ok(status.into_http()) });
            }
        };
        // The instance that was asked whether it is ready goes with the call.
        let next = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, next);
        let call = Call { inner, unary, source: Waiting { token, wait_max: self.layer.wait_max } };
        Box::pin(call.run(request))
    }
}

struct Call<S> {
    inner: S,
    /// Streams are never sent twice.
    unary: bool,
    source: Waiting,
}

/// The token, and how long a call waits for it.
struct Waiting {
    token: FreshToken,
    wait_max: Duration,
}

impl<S, B> Call<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
{
    async fn run(mut self, mut request: Request<Body>) -> Result<Response<Watched<B>>, S::Error> {
        let deadline = Deadline::of(request.headers());
        let ready = match self.source.token.ready() {
            Some(ready) => ready,
            None => match self.source.wait(deadline).await {
                Ok(ready) if deadline.is_none_or(|deadline| deadline.write_rest(request.headers_mut())) => ready,
                Ok(_) => return Ok(answer::deadline_exceeded().into_http()),
                Err(status) => return Ok(status.into_http()),
            },
        };
        let Ready { token, generation } = ready;
        request.headers_mut().insert(AUTHORIZATION, token.into_header());
        let (head, body) = request.into_parts();
        let outgoing = if self.unary { Outgoing::look_at(body) } else { Ok(Outgoing::once(body)) };
        let Outgoing { body, replay } = match outgoing {
            Ok(outgoing) => outgoing,
            Err(status) => return Ok(status.into_http()),
        };
        let again = replay.map(|message| (head.clone(), message));
        let response = self.inner.call(Request::from_parts(head, body)).await?;
        if !replay::refuses_token(response.headers()) {
            return Ok(self.source.watch(response, generation));
        }
        let Some((head, message)) = again else {
            self.source.token.reject(generation);
            return Ok(refused(response));
        };
        let Some((newer, head)) = self.source.replacement(generation, deadline, head).await else {
            return Ok(refused(response));
        };
        poll_fn(|context| self.inner.poll_ready(context)).await?;
        metrics::counter!("token_client_replays_total").increment(1);
        let response = self.inner.call(Request::from_parts(head, replay::one_message(message))).await?;
        if replay::refuses_token(response.headers()) {
            self.source.token.reject(newer);
            return Ok(refused(response));
        }
        Ok(self.source.watch(response, newer))
    }
}

impl Waiting {
    async fn wait(&self, deadline: Option<Deadline>) -> Result<Ready, Status> {
        let patience = Instant::now() + self.wait_max;
        let until = deadline.map_or(patience, |deadline| deadline.at().min(patience));
        match timeout_at(until, self.token.wait()).await {
            Ok(Ok(ready)) => Ok(ready),
            Ok(Err(error)) => Err(answer::no_token(&error).into_status()),
            Err(_) if deadline.is_some_and(|deadline| deadline.at() <= until) => Err(answer::deadline_exceeded()),
            Err(_) => Err(answer::too_slow().into_status()),
        }
    }

    /// The head of the second attempt, with a token that is not the refused one, if there is one in time; and
    /// that token's generation.
    async fn replacement(&self, refused: u64, deadline: Option<Deadline>, mut head: Parts) -> Option<(u64, Parts)> {
        let patience = Instant::now() + self.wait_max;
        let until = deadline.map_or(patience, |deadline| deadline.at().min(patience));
        let newer = timeout_at(until, self.token.replacement(refused)).await.ok()??;
        let in_time = deadline.is_none_or(|deadline| deadline.write_rest(&mut head.headers));
        let before = head.headers.insert(AUTHORIZATION, newer.token.into_header());
        // A source that hands out the same token again has nothing better.
        let better = before.as_ref() != head.headers.get(AUTHORIZATION);
        (in_time && better).then_some((newer.generation, head))
    }

    fn watch<B>(&self, response: Response<B>, generation: u64) -> Response<Watched<B>> {
        let sent = Sent { token: self.token.clone(), generation };
        response.map(|body| Watched::new(body, Some(sent)))
    }
}

/// A refusal that the program gets to hear.
fn refused<B>(mut response: Response<B>) -> Response<Watched<B>> {
    replay::mark_relayed(response.headers_mut());
    response.map(|body| Watched::new(body, None))
}
