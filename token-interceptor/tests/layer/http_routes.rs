//! The layer in front of plain HTTP routes.

use super::*;

async fn ask(issuer: &TestIssuer, scope: &str, authorization: Option<String>) -> http::Response<axum::body::Body> {
    let requirement = Requirement::any_token().with_all_scopes([scope.to_owned()]);
    let layer = AuthorizationLayer::requiring(issuer.verifier(), "inventory", requirement);
    let whoami = get(|Extension(caller): Extension<Caller>| async move { caller.client_id().to_owned() });
    let router = Router::new().route("/whoami", whoami).layer(layer);
    let mut request = http::Request::get("/whoami").body(axum::body::Body::empty()).unwrap();
    if let Some(authorization) = authorization {
        request.headers_mut().insert(AUTHORIZATION, HeaderValue::try_from(authorization).unwrap());
    }
    router.oneshot(request).await.unwrap()
}

#[tokio::test]
async fn a_good_token_reaches_the_handler() {
    let issuer = TestIssuer::new("https://issuer.example");
    let token = issuer.token().scope("read").sign();
    let answer = ask(&issuer, "read", Some(format!("Bearer {token}"))).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(to_bytes(answer.into_body(), 100).await.unwrap(), "orders");
}

#[tokio::test]
async fn rfc_9728_section_5_1_challenges_say_where_the_metadata_are() {
    let issuer = TestIssuer::new("https://issuer.example");
    let resource = ProtectedResource::new("https://api.example/v1").unwrap();
    let layer =
        AuthorizationLayer::requiring(issuer.verifier(), "inventory", Requirement::any_token()).resource(&resource);
    let router = Router::new().route("/", get(|| async {})).layer(layer);
    let request = http::Request::get("/").body(axum::body::Body::empty()).unwrap();
    let answer = router.oneshot(request).await.unwrap();
    assert_eq!(
        answer.headers()["www-authenticate"],
        r#"Bearer resource_metadata="https://api.example/.well-known/oauth-protected-resource/v1""#
    );
}

#[tokio::test]
async fn refusals_are_those_of_rfc_6750() {
    let issuer = TestIssuer::new("https://issuer.example");
    let good = issuer.token().scope("read").sign();
    for (scope, authorization, status, challenge, error) in [
        ("read", None, 401, "Bearer", "invalid_request"),
        ("read", Some(format!("Bearer {good}x")), 401, "Bearer error=\"invalid_token\"", "invalid_token"),
        ("write", Some(format!("Bearer {good}")), 403, "Bearer error=\"insufficient_scope\"", "insufficient_scope"),
    ] {
        let answer = ask(&issuer, scope, authorization).await;
        assert_eq!(answer.status(), status);
        assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with(challenge));
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let body: serde_json::Value =
            serde_json::from_slice(&to_bytes(answer.into_body(), 1000).await.unwrap()).unwrap();
        assert_eq!(body["error"], error);
    }
}

#[tokio::test]
async fn a_record_has_the_reason_and_for_a_valid_token_the_caller() {
    let issuer = TestIssuer::new("https://issuer.example");
    let good = issuer.token().scope("read").sign();
    for (scope, authorization, reason, detail, caller) in [
        ("read", None, ErrorReason::CredentialsMissing, "credentials_missing", None),
        ("read", Some(format!("Bearer {good}x")), ErrorReason::TokenInvalid, "malformed", None),
        ("write", Some(format!("Bearer {good}")), ErrorReason::ScopeInsufficient, "scope", Some("orders")),
    ] {
        let answer = ask(&issuer, scope, authorization).await;
        let refusal = answer.extensions().get::<DeniedCall>().unwrap();
        assert_eq!((refusal.reason(), refusal.detail()), (reason, detail));
        assert_eq!(refusal.caller().map(Caller::client_id), caller);
    }
    let answer = ask(&issuer, "read", Some(format!("Bearer {good}"))).await;
    assert!(answer.extensions().get::<DeniedCall>().is_none());
}
