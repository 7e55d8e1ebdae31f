//! RFC 6749 over HTTP, section by section.

use ::http::{HeaderName, Method, Request, StatusCode, header};
use axum::body::Body;

use crate::support::{World, calls::*, world};

fn assert_never_cached(answer: &Answer) {
    assert_eq!(answer.header(header::CACHE_CONTROL), Some("no-store"));
    assert_eq!(answer.header(header::PRAGMA), Some("no-cache"));
    assert_eq!(answer.header(header::CONTENT_TYPE), Some("application/json"));
}

fn json(body: &str) -> Request<Body> {
    let request = Request::post("/oauth/token").header(header::CONTENT_TYPE, "application/json; charset=utf-8");
    request.body(Body::from(body.to_owned())).unwrap()
}

#[tokio::test]
async fn rfc_6749_section_5_1_answer_has_the_token_and_is_never_cached() {
    let world = world().await;
    let answer = post_as_orders(&world, "").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_never_cached(&answer);
    let body = answer.json();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 300);
    assert_eq!(body["scope"], "inventory.read");
    verified(&world, body["access_token"].as_str().unwrap());
    assert_eq!(body.keys().collect::<Vec<_>>(), ["access_token", "expires_in", "refresh_in", "scope", "token_type"]);
}

#[tokio::test]
async fn rfc_6749_section_5_2_refusal_is_json_and_never_cached() {
    let answer = post_as_orders(&world().await, "&scope=unknown").await;
    assert_eq!(answer.error(), (400, "invalid_scope".to_owned()));
    assert_never_cached(&answer);
    let body = answer.json();
    assert!(body["error_description"].as_str().unwrap().contains("unknown"));
    assert_eq!(body["reason"], "INVALID_SCOPE");
    assert_eq!(body["request_id"].as_str(), answer.header("x-request-id"));
}

#[tokio::test]
async fn rfc_6749_section_2_3_1_client_secret_basic() {
    let world = world().await;
    for id in ["orders", "odd id:+%"] {
        let request = form("grant_type=client_credentials", &[basic(id, &world.secret)]);
        let answer = send(&world, request).await;
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(claims(&world, &token)["client_id"], id);
    }
}

#[tokio::test]
async fn rfc_6749_section_5_2_failed_basic_is_401_with_a_challenge() {
    let world = world().await;
    for headers in [
        basic("orders", "wrong"),
        (header::AUTHORIZATION, "Basic !".into()),
        (header::AUTHORIZATION, "Bearer x".into()),
    ] {
        let answer = send(&world, form("grant_type=client_credentials", &[headers])).await;
        assert_eq!(answer.error(), (401, "invalid_client".to_owned()));
        let challenge = answer.header(header::WWW_AUTHENTICATE).unwrap();
        assert_eq!(challenge, "Basic realm=\"https://issuer.example\", charset=\"UTF-8\"");
        assert_never_cached(&answer);
    }
}

#[tokio::test]
async fn failed_client_secret_post_is_401_too() {
    let world = world().await;
    for body in ["client_id=orders&client_secret=wrong", "client_id=orders", ""] {
        let answer = post(&world, &format!("grant_type=client_credentials&{body}")).await;
        assert_eq!(answer.error(), (401, "invalid_client".to_owned()), "{body}");
        // RFC 9110 section 15.5.2: a 401 always has a challenge.
        assert!(answer.header(header::WWW_AUTHENTICATE).is_some());
    }
}

#[tokio::test]
async fn rfc_6749_section_2_3_two_methods_at_once_are_refused() {
    let world = world().await;
    let body = format!("grant_type=client_credentials&client_id=orders&client_secret={}", world.secret);
    let answer = send(&world, form(&body, &[basic("orders", &world.secret)])).await;
    assert_eq!(answer.error(), (400, "invalid_request".to_owned()));

    let repeated = [basic("orders", &world.secret), basic("orders", &world.secret)];
    let answer = send(&world, form("grant_type=client_credentials", &repeated)).await;
    assert_eq!(answer.error(), (400, "invalid_request".to_owned()));
}

#[tokio::test]
async fn client_id_beside_basic_is_accepted_when_it_agrees() {
    let world = world().await;
    let request =
        |id: &str| form(&format!("grant_type=client_credentials&client_id={id}"), &[basic("orders", &world.secret)]);
    assert_eq!(send(&world, request("orders")).await.status, StatusCode::OK);
    assert_eq!(send(&world, request("several")).await.error(), (400, "invalid_request".to_owned()));
}

#[tokio::test]
async fn json_body_is_understood_as_other_issuers_clients_send_it() {
    let world = world().await;
    let body = format!(
        r#"{{"grant_type":"client_credentials","client_id":"orders","client_secret":"{}","audience":"inventory","x":{{}}}}"#,
        world.secret
    );
    assert_eq!(send(&world, json(&body)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn json_body_with_several_audiences() {
    let world = world().await;
    let body = format!(
        r#"{{"grant_type":"client_credentials","client_id":"several","client_secret":"{}",
             "resource":["https://a.example/api","https://b.example/api"],"lifetime":60}}"#,
        world.secret
    );
    let answer = send(&world, json(&body)).await;
    assert_eq!(answer.json()["expires_in"], 60);
}

#[tokio::test]
async fn malformed_bodies_are_invalid_requests() {
    let world = world().await;
    for body in ["", "{", "[]", "null", r#"{"grant_type":"client_credentials","grant_type":"x"}"#] {
        assert_eq!(send(&world, json(body)).await.error(), (400, "invalid_request".to_owned()), "{body}");
    }
    for body in ["", "grant_type", "grant_type=%", "grant_type=%ff", "scope=x"] {
        assert_eq!(post(&world, body).await.error(), (400, "invalid_request".to_owned()), "{body}");
    }
}

#[tokio::test]
async fn rfc_6749_section_3_2_repeated_parameters_are_refused() {
    let world = world().await;
    let secret = world.secret.clone();
    for repeated in [
        "&scope=inventory.read&scope=inventory.read",
        "&scope=&scope=inventory.read",
        "&grant_type=client_credentials",
        "&client_id=orders",
        &format!("&client_secret={secret}"),
        "&redirect_uri=a&redirect_uri=a",
        "&lifetime=60&lifetime=60",
    ] {
        let answer = post_as_orders(&world, repeated).await;
        assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "{repeated}");
    }
}

#[tokio::test]
async fn rfc_6749_section_3_2_unknown_parameters_are_ignored_and_empty_ones_omitted() {
    let answer = post_as_orders(&world().await, "&unknown=1&unknown=2&scope=&audience=&resource=&lifetime=").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["scope"], "inventory.read");
}

#[tokio::test]
async fn rfc_6749_section_5_2_unsupported_grant_type() {
    let world = world().await;
    for grant_type in ["password", "authorization_code", "refresh_token", "CLIENT_CREDENTIALS"] {
        let body = format!("grant_type={grant_type}&client_id=orders&client_secret={}", world.secret);
        assert_eq!(post(&world, &body).await.error(), (400, "unsupported_grant_type".to_owned()), "{grant_type}");
    }
}

#[tokio::test]
async fn rfc_6749_section_2_3_1_credentials_in_the_uri_are_refused() {
    let world = world().await;
    let request = |query: &str| {
        let mut request = form("grant_type=client_credentials", &[basic("orders", &world.secret)]);
        *request.uri_mut() = format!("/oauth/token?{query}").parse().unwrap();
        request
    };
    for query in ["client_secret=x", "a=b&client_assertion=x", "client%5Fsecret=x"] {
        assert_eq!(send(&world, request(query)).await.error(), (400, "invalid_request".to_owned()), "{query}");
    }
    // Parameters in the URI are ignored: only the body is read.
    assert_eq!(send(&world, request("scope=inventory.write")).await.json()["scope"], "inventory.read");
}

#[tokio::test]
async fn other_content_types_are_invalid_requests() {
    let world = world().await;
    for kind in ["text/plain", "multipart/form-data; boundary=x", "", "application/x-www-form-urlencoded2"] {
        let mut request = form("grant_type=client_credentials", &[basic("orders", &world.secret)]);
        request.headers_mut().insert(header::CONTENT_TYPE, kind.parse().unwrap());
        assert_eq!(send(&world, request).await.error(), (400, "invalid_request".to_owned()), "{kind}");
    }
    let mut request = form("grant_type=client_credentials", &[]);
    request.headers_mut().remove(header::CONTENT_TYPE);
    assert_eq!(send(&world, request).await.error(), (400, "invalid_request".to_owned()));
}

#[tokio::test]
async fn other_methods_are_405_and_told_which_ones_there_are() {
    let world = world().await;
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::PATCH] {
        let request = Request::builder().method(method.clone()).uri("/oauth/token").body(Body::empty()).unwrap();
        let answer = send(&world, request).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.header(header::ALLOW), Some("POST, OPTIONS"));
    }
}

#[tokio::test]
async fn token_endpoint_has_no_cors() {
    let world = world().await;
    let origin = (header::ORIGIN, "https://page.example".to_owned());
    let preflight = Request::options("/oauth/token").header(header::ORIGIN, "https://page.example");
    let answer = send(&world, preflight.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status, answer.header(header::ALLOW)), (StatusCode::NO_CONTENT, Some("POST, OPTIONS")));
    let token = send(&world, form("grant_type=client_credentials", &[basic("orders", &world.secret), origin])).await;
    for answer in [answer, token] {
        assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control-")));
    }
}

#[tokio::test]
async fn huge_body_is_cut_off_with_a_clear_error() {
    let world = world().await;
    let answer = post_as_orders(&world, &format!("&x={}", "y".repeat(64 * 1024))).await;
    assert_eq!(answer.error(), (413, "invalid_request".to_owned()));
    assert!(answer.json()["error_description"].as_str().unwrap().contains("65536"));
}

#[tokio::test]
async fn a_huge_body_is_cut_off_at_every_endpoint_with_a_clear_error() {
    let world = crate::support::world_with(|settings| settings.registration = true).await;
    let huge = "x".repeat(64 * 1024 + 1);
    let initial = format!("Bearer {}", crate::support::registration::INITIAL);
    let (form_type, json_type) = ("application/x-www-form-urlencoded", "application/json");
    for (path, kind) in [
        ("/oauth/token", form_type),
        ("/oauth/token", json_type),
        ("/oauth/introspect", form_type),
        ("/oauth/revoke", form_type),
        ("/oauth/register", json_type),
    ] {
        let request = Request::post(path).header(header::CONTENT_TYPE, kind).header(header::AUTHORIZATION, &initial);
        let answer = send(&world, request.body(Body::from(huge.clone())).unwrap()).await;
        assert_eq!(answer.error(), (413, "invalid_request".to_owned()), "{path} {kind}");
        assert!(answer.json()["error_description"].as_str().unwrap().contains("65536"), "{path} {kind}");
    }
}

#[tokio::test]
async fn request_id_is_echoed_where_it_is_sane() {
    let world = world().await;
    let echoed = async |id: &str| {
        let headers = [basic("orders", &world.secret), (HeaderName::from_static("x-request-id"), id.to_owned())];
        let answer = send(&world, form("grant_type=client_credentials", &headers)).await;
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(echoed("trace-1").await, "trace-1");
    assert_ne!(echoed("a b").await, "a b");
}

#[tokio::test]
async fn redirect_uri_is_checked_and_never_redirected_to() {
    let world = world().await;
    let answer = post_as_orders(&world, "&redirect_uri=https%3A%2F%2Fclient.example%2Fdone").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.header(header::LOCATION).is_none());
    for uri in ["https://client.example/done/", "https://evil.example", "https://client.example/done?x"] {
        let answer = post_as_orders(&world, &format!("&redirect_uri={uri}")).await;
        assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "{uri}");
    }
}

/// RFC 8707 section 2: `resource` is an absolute URI without a fragment; `audience` may be any name.
#[tokio::test]
async fn rfc_8707_section_2_resource_is_strict_and_audience_is_not() {
    let world = world().await;
    assert_eq!(post_as_orders(&world, "&audience=inventory").await.status, StatusCode::OK);
    assert_eq!(post_as_orders(&world, "&resource=inventory").await.error(), (400, "invalid_target".to_owned()));
    let several = async |parameters: &str| {
        let secret = &world.secret;
        let client = format!("grant_type=client_credentials&client_id=several&client_secret={secret}");
        post(&world, &format!("{client}&{parameters}")).await
    };
    let answer = several("resource=https://a.example/api&audience=https://b.example/api").await;
    let claims = claims(&world, answer.json()["access_token"].as_str().unwrap());
    assert_eq!(claims["aud"], serde_json::json!(["https://b.example/api", "https://a.example/api"]));
    let answer = several("resource=https://a.example/api%23x").await;
    assert_eq!(answer.error(), (400, "invalid_target".to_owned()));
}

#[tokio::test]
async fn issuer_with_a_path_is_served_below_it_and_at_the_root() {
    let world =
        crate::support::world_with(|settings| settings.terms.issuer = "https://issuer.example/tenant".into()).await;
    for path in [
        "/jwks.json",
        "/tenant/jwks.json",
        "/tenant/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/tenant",
    ] {
        assert_eq!(get(&world, path).await.status, StatusCode::OK, "{path}");
    }
    let document = get(&world, "/.well-known/oauth-authorization-server/tenant").await.json();
    assert_eq!(document["token_endpoint"], "https://issuer.example/tenant/oauth/token");
}

#[tokio::test]
async fn unknown_paths_are_404() {
    let world: World = world().await;
    assert_eq!(get(&world, "/nothing").await.status, StatusCode::NOT_FOUND);
}
