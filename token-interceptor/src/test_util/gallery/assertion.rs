//! Runs the gallery against a service.

use http::{HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use tonic::Code;
use tower::{Service, ServiceExt as _};

use super::gallery;
use crate::test_util::TestIssuer;

/// Sends every forgery and every valid token to `service`.
///
/// `service` trusts `issuer` for `audience`, by its clock. `request` makes a request to a method that demands
/// a token and no scope. Both gRPC and HTTP services work.
///
/// # Panics
///
/// When a forged token is answered with anything but UNAUTHENTICATED or 401, or a valid one with either. The
/// message names every such token.
pub async fn assert_refuses_all_forgeries<S, B, RB>(
    service: S,
    issuer: &TestIssuer,
    audience: &str,
    request: impl Fn() -> Request<B>,
) where
    S: Service<Request<B>, Response = Response<RB>> + Clone,
{
    let gallery = gallery(issuer, audience);
    let mut wrong = Vec::new();
    for good in &gallery.good {
        if refuses(service.clone(), request(), &good.token).await {
            wrong.push(format!("{}: a valid token is refused", good.name));
        }
    }
    for forgery in &gallery.forgeries {
        if !refuses(service.clone(), request(), &forgery.token).await {
            wrong.push(format!("{}: accepted, but {}", forgery.name, forgery.why));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn refuses<S, B, RB>(service: S, mut request: Request<B>, token: &str) -> bool
where
    S: Service<Request<B>, Response = Response<RB>>,
{
    // A token that no header field can carry never reaches a server.
    let Ok(value) = HeaderValue::try_from(format!("Bearer {token}")) else { return true };
    request.headers_mut().insert(AUTHORIZATION, value);
    let Ok(response) = service.oneshot(request).await else { return false };
    let grpc_status = response.headers().get("grpc-status").map(HeaderValue::as_bytes);
    response.status() == StatusCode::UNAUTHORIZED || grpc_status.map(Code::from_bytes) == Some(Code::Unauthenticated)
}
