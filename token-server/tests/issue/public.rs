//! The public documents over HTTP.

use ::http::{Method, Request, StatusCode, header};
use axum::body::Body;
use serde_json::json;

use crate::support::{
    World,
    calls::{Answer, get, send},
    world,
};

const DOCUMENTS: [&str; 3] =
    ["/jwks.json", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"];

async fn ask(world: &World, method: Method, path: &str, headers: &[(header::HeaderName, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    send(world, request.body(Body::empty()).unwrap()).await
}

/// RFC 7517 section 5.
#[tokio::test]
async fn jwks_holds_the_signing_key_and_nothing_private() {
    let world = world().await;
    let set = get(&world, "/jwks.json").await.json();
    let keys = set["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0]["kid"], world.signing_key.public_jwk().key_id());
    assert_eq!((&keys[0]["alg"], &keys[0]["use"]), (&json!("ES256"), &json!("sig")));
    assert!(keys[0].get("d").is_none());
}

/// RFC 8414 section 2.
#[tokio::test]
async fn rfc_8414_section_2_metadata_lists_exactly_what_works() {
    let document = get(&world().await, "/.well-known/oauth-authorization-server").await.json();
    assert_eq!(document["issuer"], "https://issuer.example");
    assert_eq!(document["token_endpoint"], "https://issuer.example/oauth/token");
    assert_eq!(document["jwks_uri"], "https://issuer.example/jwks.json");
    assert_eq!(document["authorization_endpoint"], "https://issuer.example/oauth/authorize");
    assert_eq!(document["response_types_supported"], json!([]));
    assert_eq!(
        document["grant_types_supported"],
        json!(["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"])
    );
    let methods = &document["token_endpoint_auth_methods_supported"];
    assert_eq!(methods, &json!(["client_secret_basic", "client_secret_post", "private_key_jwt"]));
    let algorithms = &document["token_endpoint_auth_signing_alg_values_supported"];
    let known = ["ES256", "EdDSA", "ES384", "PS256", "RS256", "PS384", "PS512", "RS384", "RS512", "ES512"];
    assert_eq!(algorithms, &json!(known));
    for endpoint in ["introspection", "revocation"] {
        assert_eq!(&document[&*format!("{endpoint}_endpoint_auth_signing_alg_values_supported")], algorithms);
    }
    assert_eq!(&document["introspection_endpoint_auth_methods_supported"], methods);
    assert_eq!(&document["revocation_endpoint_auth_methods_supported"], methods);
}

/// OpenID Connect Discovery section 3, from the same source.
#[tokio::test]
async fn openid_configuration_is_the_oauth_document_and_what_openid_adds() {
    let world = world().await;
    let oauth = get(&world, "/.well-known/oauth-authorization-server").await.json();
    let mut openid = get(&world, "/.well-known/openid-configuration").await.json();
    assert_eq!(openid.remove("userinfo_endpoint"), Some(json!("https://issuer.example/userinfo")));
    assert_eq!(openid.remove("subject_types_supported"), Some(json!(["public"])));
    assert_eq!(openid.remove("id_token_signing_alg_values_supported"), Some(json!(["ES256"])));
    assert_eq!(openid, oauth);
}

/// Every endpoint that the metadata names exists.
#[tokio::test]
async fn every_endpoint_in_the_metadata_exists() {
    let world = world().await;
    let document = get(&world, "/.well-known/openid-configuration").await.json();
    let endpoints = document.iter().filter(|(name, _)| name.ends_with("_endpoint") || name.ends_with("_uri"));
    for (name, value) in endpoints {
        let path = value.as_str().unwrap().strip_prefix("https://issuer.example").unwrap();
        let answer = ask(&world, Method::OPTIONS, path, &[]).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{name}");
    }
}

/// RFC 6749 section 4.1.2.1. The redirect URI was never registered for this, so it is never followed.
#[tokio::test]
async fn the_authorization_endpoint_says_so_and_never_redirects() {
    let world = world().await;
    for query in [
        "",
        "?response_type=code&client_id=orders&redirect_uri=https%3A%2F%2Fevil.example%2F&state=x",
        "?response_type=token&client_id=orders&redirect_uri=https://orders.example/done",
    ] {
        for method in [Method::GET, Method::POST] {
            let answer = ask(&world, method.clone(), &format!("/oauth/authorize{query}"), &[]).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{method} {query}");
            assert_eq!(answer.json()["error"], "unsupported_response_type");
            assert_eq!(answer.header(header::LOCATION), None);
            assert_eq!(answer.header(header::CACHE_CONTROL), Some("no-store"));
        }
    }
    let answer = ask(&world, Method::PUT, "/oauth/authorize", &[]).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

/// RFC 9110 section 13.1.2.
#[tokio::test]
async fn unchanged_document_is_304() {
    let world = world().await;
    for path in DOCUMENTS {
        let answer = get(&world, path).await;
        let etag = answer.header(header::ETAG).unwrap();
        let again = ask(&world, Method::GET, path, &[(header::IF_NONE_MATCH, etag)]).await;
        assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0), "{path}");
        assert_eq!(again.header(header::ETAG), Some(etag));
        let other = ask(&world, Method::GET, path, &[(header::IF_NONE_MATCH, "\"other\"")]).await;
        assert_eq!(other.status, StatusCode::OK);
    }
}

/// RFC 9110 section 9.3.2.
#[tokio::test]
async fn head_is_get_without_the_body() {
    let world = world().await;
    for path in DOCUMENTS {
        let (get, head) = (get(&world, path).await, ask(&world, Method::HEAD, path, &[]).await);
        assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
        assert_eq!(head.header(header::ETAG), get.header(header::ETAG));
        assert_eq!(head.header(header::CONTENT_LENGTH), Some(&*get.body.len().to_string()));
    }
}

#[tokio::test]
async fn documents_may_be_kept_for_a_while_and_not_all_for_the_same() {
    let world = world().await;
    let mut ages = std::collections::HashSet::new();
    for _ in 0..50 {
        let answer = get(&world, "/jwks.json").await;
        let age = answer.header(header::CACHE_CONTROL).unwrap().strip_prefix("public, max-age=").unwrap();
        ages.insert(age.parse::<u64>().unwrap());
    }
    assert!(ages.iter().all(|age| (240..=300).contains(age)) && ages.len() > 5, "{ages:?}");
}

#[tokio::test]
async fn documents_are_readable_from_any_web_page() {
    let world = world().await;
    for path in DOCUMENTS {
        let answer = ask(&world, Method::GET, path, &[(header::ORIGIN, "https://page.example")]).await;
        assert_eq!(answer.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), Some("*"));
        let asked = [(header::ORIGIN, "https://page.example"), (header::ACCESS_CONTROL_REQUEST_METHOD, "GET")];
        let preflight = ask(&world, Method::OPTIONS, path, &asked).await;
        assert_eq!(preflight.status, StatusCode::NO_CONTENT);
        assert_eq!(preflight.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), Some("*"));
        assert_eq!(preflight.header(header::ACCESS_CONTROL_ALLOW_METHODS), Some("GET, HEAD, OPTIONS"));
    }
}

#[tokio::test]
async fn documents_are_not_to_be_written() {
    let world = world().await;
    for path in DOCUMENTS {
        let answer = ask(&world, Method::POST, path, &[]).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.header(header::ALLOW), Some("GET, HEAD, OPTIONS"));
    }
}
