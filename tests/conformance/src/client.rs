//! The Rust executor of a client case: the layer around a channel, on Tokio's simulated time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use token_interceptor::{
    attach::AttachLayer,
    clock::Clock,
    danger,
    source::{IssuedToken, SourceError, TokenRequest, TokenSource},
    test_util,
};
use token_proto::{ERROR_DOMAIN, descriptor};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::{Code, Status, body::Body};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::protocol::v1::{self, Call, CallResult, ClientCase, ClientResult, ClockJump, IssuerAnswer, ServerAnswer};

const MARK: HeaderName = HeaderName::from_static("token-refused");
const PENDING: i32 = -1;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Runs one case on a runtime of its own, whose time is simulated.
pub(crate) fn run(case: ClientCase) -> Result<ClientResult> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(simulate(case))
}

/// The wall clock of the case. It follows Tokio's time, and jumps.
#[derive(Debug)]
struct Wall {
    began: Instant,
    start: SystemTime,
    jumps: Vec<ClockJump>,
    draw: f64,
}

impl Clock for Wall {
    fn now(&self) -> SystemTime {
        let passed = self.began.elapsed();
        let jumped = self.jumps.iter().filter(|jump| span(jump.at.as_ref()) <= passed);
        let by: i64 = jumped.map(|jump| jump.by.as_ref().map_or(0, millis)).sum();
        let now = self.start + passed;
        let width = Duration::from_millis(by.unsigned_abs());
        if by < 0 { now - width } else { now + width }
    }

    fn draw(&self) -> f64 {
        self.draw
    }
}

/// The issuer that follows the script.
struct Scripted {
    began: Instant,
    clock: Arc<Wall>,
    answers: Mutex<std::vec::IntoIter<IssuerAnswer>>,
    requests: Arc<Mutex<Vec<v1::TokenRequest>>>,
}

#[async_trait]
impl TokenSource for Scripted {
    async fn fetch(&self, request: &TokenRequest) -> std::result::Result<IssuedToken, SourceError> {
        lock(&self.requests).push(v1::TokenRequest {
            at: Some(proto(self.began.elapsed())),
            audience: request.audience().unwrap_or_default().to_owned(),
            scopes: request.scopes().map(str::to_owned).collect(),
        });
        let answer = lock(&self.answers).next();
        let Some(answer) = answer else { std::future::pending().await };
        sleep(span(answer.delay.as_ref())).await;
        if answer.connection_failed {
            return Err(SourceError::unavailable("the connection failed"));
        }
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::try_from(answer.retry_after)
            && !value.is_empty()
        {
            headers.insert("retry-after", value);
        }
        let status = u16::try_from(answer.status).unwrap_or_default();
        test_util::token_response(status, headers, answer.body, &*self.clock)
    }
}

async fn simulate(case: ClientCase) -> Result<ClientResult> {
    let began = Instant::now();
    let start = u64::try_from(case.start.as_ref().ok_or("the case has no start")?.seconds)?;
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(start);
    let clock = Arc::new(Wall { began, start, jumps: case.jumps, draw: case.draw });
    let requests = Arc::<Mutex<Vec<v1::TokenRequest>>>::default();
    let answers = Mutex::new(case.answers.into_iter());
    let source = Scripted { began, clock: Arc::clone(&clock), answers, requests: Arc::clone(&requests) };
    let table = descriptor::policy(&case.descriptors)?;
    let mut layer = AttachLayer::new(source).policy(&table).clock(clock);
    if !case.sharing.is_empty() {
        layer = layer.sharing(&case.sharing.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    let end = began + span(case.until.as_ref());
    let calls: Vec<_> =
        case.calls.into_iter().map(|call| tokio::spawn(called(layer.clone(), call, began, end))).collect();
    let mut results = Vec::with_capacity(calls.len());
    for call in calls {
        results.push(call.await??);
    }
    sleep_until(end).await;
    let requests = std::mem::take(&mut *lock(&requests));
    Ok(ClientResult { requests, calls: results })
}

async fn called(layer: AttachLayer, call: Call, began: Instant, end: Instant) -> Result<CallResult> {
    sleep_until(began + span(call.at.as_ref())).await;
    let attempts = Arc::<Mutex<Vec<String>>>::default();
    let callee = {
        let (attempts, answers) = (Arc::clone(&attempts), Arc::new(Mutex::new(call.answers.into_iter())));
        service_fn(move |request: Request<Body>| {
            let token = request.headers().get("authorization").and_then(|value| value.to_str().ok());
            let token = token.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default().to_owned();
            let (attempts, answers) = (Arc::clone(&attempts), Arc::clone(&answers));
            async move {
                // A server answers once it has read the request.
                request.into_body().collect().await.map_err(|status| status.to_string())?;
                lock(&attempts).push(token);
                let answer = lock(&answers).next().unwrap_or_default();
                Ok::<_, String>(answered(&answer))
            }
        })
    };
    let channel = layer.any_destination(danger::AllowPlaintext).layer(callee);
    let message =
        StreamBody::new(futures_util::stream::iter([Ok::<_, Status>(Frame::data(Bytes::from_static(&[0; 5])))]));
    let mut request = Request::post(format!("http://localhost{}", call.method)).body(Body::new(message))?;
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    if let Some(deadline) = call.deadline.as_ref() {
        let header = format!("{}m", span(Some(deadline)).as_millis());
        request.headers_mut().insert("grpc-timeout", HeaderValue::try_from(header)?);
    }
    let outcome = async { status(channel.oneshot(request).await?).await };
    let (code, reason, marks) = match timeout(end.saturating_duration_since(Instant::now()), outcome).await {
        Ok(outcome) => outcome.map_err(|error: Box<dyn std::error::Error + Send + Sync>| error.to_string())?,
        Err(_) => (PENDING, String::new(), Vec::new()),
    };
    let attempts = std::mem::take(&mut *lock(&attempts));
    Ok(CallResult { attempts, at: Some(proto(began.elapsed())), code, reason, marks })
}

/// Reads code, reason and marks of an answer.
async fn status<B>(response: Response<B>) -> Result<(i32, String, Vec<String>)>
where
    B: http_body::Body,
    B::Error: std::fmt::Display,
{
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?;
    let mut headers = head.headers;
    headers.extend(body.trailers().cloned().unwrap_or_default());
    let marks = headers.get_all(MARK).iter().map(|mark| mark.to_str().unwrap_or_default().to_owned()).collect();
    let status = Status::from_header_map(&headers).ok_or("an answer without a status")?;
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    Ok((status.code().into(), reason, marks))
}

/// The callee's answer.
fn answered(answer: &ServerAnswer) -> Response<Body> {
    let marks = answer.marks.iter().filter_map(|mark| HeaderValue::try_from(mark).ok());
    if answer.code == 0 {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        trailers.extend(marks.map(|mark| (MARK, mark)));
        let frames = [Ok::<_, Status>(Frame::data(Bytes::from_static(&[0; 5]))), Ok(Frame::trailers(trailers))];
        return Response::new(Body::new(StreamBody::new(futures_util::stream::iter(frames))));
    }
    let code = Code::from_i32(answer.code);
    let status = if answer.reason.is_empty() {
        Status::new(code, "")
    } else {
        let details =
            ErrorDetails::with_error_info(answer.reason.as_str(), ERROR_DOMAIN, HashMap::<String, String>::new());
        Status::with_error_details(code, "", details)
    };
    let mut response = status.into_http();
    response.headers_mut().extend(marks.map(|mark| (MARK, mark)));
    response
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn span(duration: Option<&prost_types::Duration>) -> Duration {
    Duration::from_millis(duration.map_or(0, millis).unsigned_abs())
}

fn millis(duration: &prost_types::Duration) -> i64 {
    duration.seconds * 1000 + i64::from(duration.nanos) / 1_000_000
}

fn proto(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}
