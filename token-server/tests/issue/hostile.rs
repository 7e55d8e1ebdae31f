//! Arbitrary input: never a 5xx, a panic or a token.

use ::http::{Request, header};
use axum::body::Body;
use proptest::prelude::*;
use tonic::Code;

use crate::support::{
    World,
    calls::{form, grpc, message, reason, send},
    world,
};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn check(world: &World, request: Request<Body>) {
    let answer = block_on(send(world, request));
    assert!(answer.status.is_client_error(), "{answer:?}");
    let json = answer.json();
    assert!(json.contains_key("error") && !json.contains_key("access_token"), "{answer:?}");
    assert!(!String::from_utf8_lossy(&answer.body).contains(&world.secret), "{answer:?}");
}

/// A valid request, one byte of which is then changed.
fn mutated() -> impl Strategy<Value = (usize, u8)> {
    (0..200usize, any::<u8>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_bodies_are_refused(body in proptest::collection::vec(any::<u8>(), 0..300), json in any::<bool>()) {
        let kind = if json { "application/json" } else { "application/x-www-form-urlencoded" };
        let request = Request::post("/oauth/token").header(header::CONTENT_TYPE, kind);
        check(&block_on(world()), request.body(Body::from(body)).unwrap());
    }

    #[test]
    fn arbitrary_parameters_are_refused(pairs in proptest::collection::vec(("[a-z_]{0,12}", "\\PC{0,20}"), 0..8)) {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        check(&block_on(world()), form(&format!("grant_type=client_credentials&{body}"), &[]));
    }

    #[test]
    fn arbitrary_headers_are_refused(value in proptest::collection::vec(any::<u8>(), 0..100)) {
        let Ok(value) = ::http::HeaderValue::from_bytes(&value) else { return Ok(()) };
        let mut request = form("grant_type=client_credentials", &[]);
        request.headers_mut().insert(header::AUTHORIZATION, value.clone());
        request.headers_mut().insert("x-request-id", value);
        check(&block_on(world()), request);
    }

    #[test]
    fn a_changed_secret_never_yields_a_token((place, byte) in mutated()) {
        let world = block_on(world());
        let mut secret = world.secret.clone().into_bytes();
        let place = place % secret.len();
        prop_assume!(secret[place] != byte);
        secret[place] = byte;
        let encoded: String = url::form_urlencoded::byte_serialize(&secret).collect();
        check(&world, form(&format!("grant_type=client_credentials&client_id=orders&client_secret={encoded}"), &[]));
    }

    #[test]
    fn arbitrary_messages_are_refused(
        client_id in "\\PC{0,300}",
        secret in "\\PC{0,300}",
        audiences in proptest::collection::vec("\\PC{0,20}", 0..40),
        scopes in proptest::collection::vec("\\PC{0,20}", 0..40),
        seconds in any::<i64>(),
        nanos in any::<i32>(),
    ) {
        let mut message = message(&client_id, &secret);
        message.audiences = audiences;
        message.scopes = scopes;
        message.lifetime = Some(prost_types::Duration { seconds, nanos });
        let status = block_on(async { grpc(&world().await).issue_token(message).await }).unwrap_err();
        let (code, reason) = reason(&status);
        prop_assert!(matches!(code, Code::InvalidArgument | Code::Unauthenticated), "{status:?}");
        prop_assert!(!reason.is_empty());
    }

    #[test]
    fn arbitrary_asks_of_a_good_client_are_granted_or_refused(
        audience in "(inventory|\\PC{0,20})",
        scope in "((inventory.(read|write)|\\PC{0,5}) ?){0,4}",
        lifetime in "([0-9]{0,30}|\\PC{0,5})",
    ) {
        let world = block_on(world());
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.append_pair("grant_type", "client_credentials");
        body.append_pair("client_id", "orders").append_pair("client_secret", &world.secret);
        body.append_pair("audience", &audience).append_pair("scope", &scope).append_pair("lifetime", &lifetime);
        let answer = block_on(send(&world, form(&body.finish(), &[])));
        prop_assert!(answer.status == 200 || answer.status == 400, "{answer:?}");
        if answer.status == 200 {
            let granted = answer.json()["scope"].as_str().unwrap().to_owned();
            prop_assert!(granted.split(' ').all(|scope| ["inventory.read", "inventory.write"].contains(&scope)));
        }
    }
}
