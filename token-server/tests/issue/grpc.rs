//! Behaviour of the gRPC protocol alone.

use ::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use token_proto::token::v1;
use tonic::{Code, Request, metadata::MetadataValue};
use tonic_types::StatusExt as _;

use crate::support::{
    calls::{basic, grpc, message, message_of_orders, reason, verified},
    start, world,
};

fn with_basic(message: v1::IssueTokenRequest, client_id: &str, secret: &str) -> Request<v1::IssueTokenRequest> {
    let mut request = Request::new(message);
    let value = basic(client_id, secret).1;
    request.metadata_mut().insert(AUTHORIZATION.as_str(), MetadataValue::try_from(value).unwrap());
    request
}

#[tokio::test]
async fn answer_holds_everything_a_client_needs() {
    let world = world().await;
    let answer = grpc(&world).issue_token(message_of_orders(&world)).await.unwrap();
    assert!(answer.metadata().get("x-request-id").is_some());
    let answer = answer.into_inner();
    assert_eq!(answer.server_time, Some(start().into()));
    let token = answer.token.unwrap();
    assert_eq!(token.token_type, "Bearer");
    assert_eq!(token.issued_token_type, "urn:ietf:params:oauth:token-type:access_token");
    assert_eq!(token.expires_in.unwrap().seconds, 300);
    let refresh_after = token.refresh_after.unwrap().seconds;
    assert!((210..=255).contains(&refresh_after), "{refresh_after}");
    assert_eq!(token.audiences, ["inventory"]);
    assert_eq!(token.scopes, ["inventory.read"]);
    let (_, claims) = verified(&world, &token.value);
    assert_eq!(claims["jti"], token.token_id);
    assert_eq!(claims["exp"].as_i64(), Some(token.expire_time.unwrap().seconds));
}

#[tokio::test]
async fn client_authenticates_with_basic_metadata() {
    let world = world().await;
    let request = with_basic(v1::IssueTokenRequest::default(), "orders", &world.secret);
    assert!(grpc(&world).issue_token(request).await.is_ok());
    let request = with_basic(v1::IssueTokenRequest::default(), "orders", "wrong");
    let status = grpc(&world).issue_token(request).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "CLIENT_AUTHENTICATION_FAILED".to_owned()));
}

#[tokio::test]
async fn secret_in_the_message_and_basic_metadata_at_once_are_refused() {
    let world = world().await;
    let request = with_basic(message_of_orders(&world), "orders", &world.secret);
    let status = grpc(&world).issue_token(request).await.unwrap_err();
    assert_eq!(reason(&status), (Code::InvalidArgument, "INVALID_REQUEST".to_owned()));
}

#[tokio::test]
async fn refusal_has_domain_request_id_and_challenge() {
    let world = world().await;
    let mut request = Request::new(message("orders", "wrong"));
    request.metadata_mut().insert("x-request-id", "trace-1".parse().unwrap());
    let status = grpc(&world).issue_token(request).await.unwrap_err();
    assert_eq!(status.get_details_error_info().unwrap().domain, "m2m.token.v1");
    assert_eq!(status.get_details_request_info().unwrap().request_id, "trace-1");
    assert_eq!(status.metadata().get("x-request-id").unwrap(), "trace-1");
    let challenge = status.metadata().get(WWW_AUTHENTICATE.as_str()).unwrap().to_str().unwrap();
    assert_eq!(challenge, "Basic realm=\"https://issuer.example\", charset=\"UTF-8\"");
}

#[tokio::test]
async fn no_client_at_all_is_unauthenticated() {
    let status = grpc(&world().await).issue_token(v1::IssueTokenRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "CLIENT_AUTHENTICATION_FAILED".to_owned()));
}

#[tokio::test]
async fn a_scope_field_with_two_scopes_in_it_is_malformed() {
    let world = world().await;
    let request = v1::IssueTokenRequest {
        scopes: vec!["inventory.read inventory.write".to_owned()],
        ..message_of_orders(&world)
    };
    let status = grpc(&world).issue_token(request).await.unwrap_err();
    assert_eq!(reason(&status), (Code::InvalidArgument, "INVALID_SCOPE".to_owned()));
}

/// tonic rejects it before it is decoded. A whole server answers as for every other rejection:
/// `tests/server/framing.rs`.
#[tokio::test]
async fn a_huge_message_is_refused_by_every_method() {
    let world = world().await;
    let huge = "x".repeat(64 * 1024 + 1);
    let (client, mut grpc) = (message("orders", &world.secret).client, grpc(&world));
    let subject = Some(v1::SecurityToken { value: huge.clone(), ..Default::default() });
    let introspect = v1::IntrospectTokenRequest { client: client.clone(), token: huge.clone() };
    let revoke = v1::RevokeTokenRequest { client: client.clone(), token: huge.clone() };
    let exchange = v1::ExchangeTokenRequest { client, subject, ..Default::default() };
    let refusals = [
        grpc.issue_token(message("orders", &huge)).await.map(drop),
        grpc.exchange_token(exchange).await.map(drop),
        grpc.introspect_token(introspect).await.map(drop),
        grpc.revoke_token(revoke).await.map(drop),
    ];
    for refused in refusals {
        let status = refused.unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
        assert!(status.message().contains("65536"), "{status:?}");
    }
}
