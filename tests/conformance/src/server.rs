//! The Rust executor of a server case: the layer around a handler, as a server has it.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse as _, routing::get};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use prost_types::Timestamp;
use token_interceptor::{
    caller,
    clock::Clock,
    http_client::HttpClient,
    layer::{AuthorizationLayer, DeniedCall},
    policy::Policy,
    revocation::Revocations,
    signature::Algorithm,
    verify::{TrustedIssuer, Verifier},
};
use token_proto::descriptor;
use tonic::{Status, body::Body};
use tonic_types::StatusExt as _;
use tower::{Layer as _, Service as _, service_fn};

use crate::protocol::v1::{self, Caller, Refusal, ServerCase, ServerResult, server_result::Decision};

const MARK: HeaderName = HeaderName::from_static("token-refused");

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The key sets that are served, by path.
type KeySets = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// The time of the case.
#[derive(Debug)]
struct Stopped(SystemTime);

impl Clock for Stopped {
    fn now(&self) -> SystemTime {
        self.0
    }
}

/// Serves the key sets of the cases on loopback.
#[derive(Clone, Debug)]
pub(crate) struct KeyServer {
    url: String,
    /// One client for all cases: to build one reads the system's roots.
    http: HttpClient,
    sets: KeySets,
}

impl KeyServer {
    pub(crate) async fn start() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let sets = KeySets::default();
        let router = Router::new().fallback(get(served)).with_state(Arc::clone(&sets));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, http: HttpClient::builder().build()?, sets })
    }

    /// Publishes a key set, and returns its URL.
    fn publish(&self, path: String, jwks: Vec<u8>) -> String {
        let url = format!("{}{path}", self.url);
        self.sets.lock().unwrap_or_else(PoisonError::into_inner).insert(path, jwks);
        url
    }
}

async fn served(State(sets): State<KeySets>, uri: http::Uri) -> axum::response::Response {
    let sets = sets.lock().unwrap_or_else(PoisonError::into_inner);
    match sets.get(uri.path()) {
        Some(set) => ([("content-type", "application/json")], set.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Runs one case.
pub(crate) async fn run(name: &str, case: ServerCase, keys: &KeyServer) -> Result<ServerResult> {
    let layer = match layer(name, &case, keys) {
        Ok(layer) if case.observe => layer.observe(),
        Ok(layer) => layer,
        Err(error) => return Ok(ServerResult { decision: Some(Decision::StartError(error.to_string())), ..empty() }),
    };
    let seen = Arc::new(Mutex::new(None));
    let handler = {
        let (seen, marks) = (Arc::clone(&seen), case.handler_marks.clone());
        service_fn(move |request: Request<Body>| {
            let caller = request.extensions().get::<caller::Caller>().map(caller_of).unwrap_or_default();
            let would_deny = request.extensions().get::<DeniedCall>().map(|call| Status::from(call.denied().clone()));
            *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((caller, would_deny));
            let response = answered(&marks);
            async move { Ok::<_, Infallible>(response) }
        })
    };
    let mut request = Request::post(&case.method).header("content-type", "application/grpc").body(Body::empty())?;
    for value in &case.authorization {
        request.headers_mut().append("authorization", HeaderValue::from_bytes(value.as_bytes())?);
    }
    let response = layer.layer(handler).call(request).await?;
    let (head, body) = response.into_parts();
    let trailers = body.collect().await.map_err(|error| format!("the body failed: {error}"))?.trailers().cloned();
    let headers = if head.headers.contains_key("grpc-status") { head.headers } else { trailers.unwrap_or_default() };
    let marks = headers.get_all(MARK).iter().map(|mark| mark.to_str().unwrap_or_default().to_owned()).collect();
    let handled = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (decision, would_deny) = match handled {
        Some((caller, would_deny)) => {
            (Decision::Allowed(caller), would_deny.map(|status| refusal(&status)).transpose()?)
        }
        None => {
            let status = Status::from_header_map(&headers).ok_or("the layer's answer has no status")?;
            (Decision::Refused(refusal(&status)?), None)
        }
    };
    Ok(ServerResult { decision: Some(decision), would_deny, marks })
}

fn empty() -> ServerResult {
    ServerResult::default()
}

fn layer(name: &str, case: &ServerCase, keys: &KeyServer) -> Result<AuthorizationLayer> {
    let table = descriptor::policy(&case.descriptors)?;
    let services: Vec<&str> = case.services.iter().map(String::as_str).collect();
    // The table of a real server holds only the services of its own files.
    let table: Vec<_> = table
        .into_iter()
        .filter(|method| services.iter().any(|service| method.path.starts_with(&format!("/{service}/"))))
        .collect();
    let policy = Policy::new(&table)?.serves(&case.descriptors, &services)?;
    let mut verifier = Verifier::builder().clock(Arc::new(Stopped(time(case.now.as_ref())?)));
    for (number, issuer) in case.issuers.iter().enumerate() {
        verifier = verifier.issuer(trusted(issuer, &format!("/{name}/{number}"), &case.revoked_token_ids, keys)?);
    }
    Ok(AuthorizationLayer::try_new(verifier.build()?, policy)?)
}

fn trusted(issuer: &v1::TrustedIssuer, path: &str, revoked: &[String], keys: &KeyServer) -> Result<TrustedIssuer> {
    let url = if issuer.unreachable {
        // Not published, so it answers 404.
        format!("{}{path}/unreachable", keys.url)
    } else {
        keys.publish(path.to_owned(), issuer.jwks.clone())
    };
    let revocations = Revocations::new();
    for token_id in revoked {
        revocations.revoke_token(token_id, SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40));
    }
    let trusted = TrustedIssuer::jwks(&issuer.issuer, &url)?.http_client(keys.http.clone()).revocations(revocations);
    let algorithms = issuer
        .algorithms
        .iter()
        .map(|name| Algorithm::from_name(name).ok_or_else(|| format!("the algorithm {name} is unknown")));
    let algorithms = algorithms.collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(if algorithms.is_empty() { trusted } else { trusted.algorithms(&algorithms) })
}

fn time(timestamp: Option<&Timestamp>) -> Result<SystemTime> {
    let seconds = timestamp.ok_or("the case has no time")?.seconds;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds)?))
}

/// A successful gRPC answer whose trailers hold `marks`.
fn answered(marks: &[String]) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    for mark in marks {
        if let Ok(mark) = HeaderValue::try_from(mark) {
            trailers.append(MARK, mark);
        }
    }
    let frames = [Ok::<_, Status>(Frame::data(Bytes::from_static(&[0; 5]))), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(Body::new(StreamBody::new(futures_util::stream::iter(frames))));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn caller_of(caller: &caller::Caller) -> Caller {
    let expires_at = caller.expires_at().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Caller {
        issuer: caller.issuer().to_owned(),
        subject: caller.subject().to_owned(),
        client_id: caller.client_id().to_owned(),
        token_id: caller.token().token_id().to_owned(),
        scopes: caller.scopes().map(str::to_owned).collect(),
        expires_at: i64::try_from(expires_at.as_secs()).ok().map(|seconds| Timestamp { seconds, nanos: 0 }),
        actors: caller.actors().iter().map(|actor| actor.subject().to_owned()).collect(),
    }
}

fn refusal(status: &Status) -> Result<Refusal> {
    let info = status.get_details_error_info().ok_or("the layer's answer has no ErrorInfo")?;
    let challenge =
        status.metadata().get("www-authenticate").map(|value| value.to_str().unwrap_or_default().to_owned());
    Ok(Refusal {
        code: status.code().into(),
        reason: info.reason,
        domain: info.domain,
        metadata: info.metadata,
        www_authenticate: challenge.unwrap_or_default(),
        has_retry_info: status.get_details_retry_info().is_some(),
    })
}
