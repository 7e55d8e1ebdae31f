//! Open streams at rest: the cost of looking at their tokens, beside timers that do nothing else.

use std::{convert::Infallible, fs, time::Duration};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::{Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use token_interceptor::{clock::SystemClock, layer::AuthorizationLayer, test_util::TestIssuer, verify::Verifier};
use token_proto::policy::Requirement;
use tonic::{Status, body::Body};
use tower::{Layer as _, ServiceExt as _, service_fn};

pub(crate) const STREAMS: usize = 10_000;
const SECONDS: u32 = 5;

/// CPU time in a second.
pub(crate) struct Figures {
    pub(crate) timers: Duration,
    pub(crate) guarded: Duration,
}

impl Figures {
    pub(crate) fn measure() -> Self {
        Self { timers: on_a_thread(timers), guarded: on_a_thread(streams) }
    }
}

/// Runs what `begin` starts on a thread of its own. Returns the thread's CPU time in a second, once all has
/// begun.
fn on_a_thread<F: Future<Output = ()> + 'static>(begin: fn() -> F) -> Duration {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            begin().await;
            // The first looks are over, and the timers have spread.
            tokio::time::sleep(Duration::from_secs(2)).await;
            let before = cpu_time();
            tokio::time::sleep(Duration::from_secs(SECONDS.into())).await;
            (cpu_time() - before) / SECONDS
        })
    };
    std::thread::spawn(run).join().unwrap()
}

/// The CPU time of this thread: the first number that Linux shows.
fn cpu_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

async fn timers() {
    for _ in 0..STREAMS {
        tokio::spawn(async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }
}

/// Each stream has a token of its own, has sent one message, and waits.
async fn streams() {
    let issuer = TestIssuer::new("https://issuer.example");
    let builder = Verifier::builder().issuer(issuer.trusted()).clock(SystemClock::shared());
    let layer = AuthorizationLayer::requiring(builder.build().unwrap(), "inventory", Requirement::any_token());
    let service = layer.layer(service_fn(|_: Request<Body>| {
        let message = http_body::Frame::data(Bytes::from_static(b"\0\0\0\0\0"));
        let messages = stream::iter([Ok::<_, Status>(message)]).chain(stream::pending());
        std::future::ready(Ok::<_, Infallible>(Response::new(Body::new(StreamBody::new(messages)))))
    }));
    for _ in 0..STREAMS {
        let token = issuer.token().claim("exp", 4_000_000_000_u64).sign();
        let request = Request::builder().header("authorization", format!("Bearer {token}")).body(Body::empty());
        let Ok(response) = service.clone().oneshot(request.unwrap()).await;
        let mut body = response.into_body();
        assert!(body.frame().await.unwrap().unwrap().is_data(), "the call is admitted");
        tokio::spawn(async move { while body.frame().await.is_some() {} });
    }
}
