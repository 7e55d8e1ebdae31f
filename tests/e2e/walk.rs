//! Calls every RPC of the contract. Each that is not public rejects a call without a token, and one with a
//! token for another audience. A new RPC is covered without a change here.

use http::Request;
use http_body_util::Full;
use token_proto::{
    POLICY,
    policy::{Access, MethodKind, MethodPolicy},
};
use tonic::{Code, Status, body::Body, transport::Channel};
use tower::{Service as _, ServiceExt as _};

use crate::harness::{Issuer, reason};

/// Calls the method with an empty message. Returns the status if it is in the first headers.
async fn call(channel: &mut Channel, method: &MethodPolicy, token: Option<&str>) -> Option<Status> {
    let mut request = Request::post(&*method.path).header("content-type", "application/grpc").header("te", "trailers");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let empty_message: &[u8] = &[0; 5];
    let request = request.body(Body::new(Full::from(empty_message))).unwrap();
    let response = channel.ready().await.unwrap().call(request).await.unwrap();
    Status::from_header_map(response.headers())
}

fn demands_a_token(method: &&MethodPolicy) -> bool {
    matches!(method.access, Access::Require(_))
}

#[tokio::test]
async fn every_method_that_demands_a_token_refuses_a_call_without_one() {
    let issuer = Issuer::start().await;
    let mut channel = issuer.channel();
    let mut walked = 0;
    for method in POLICY.iter().filter(demands_a_token) {
        let status = call(&mut channel, method, None).await.expect("refused at once");
        assert_eq!(
            (status.code(), &*reason(&status)),
            (Code::Unauthenticated, "CREDENTIALS_MISSING"),
            "{}",
            method.path
        );
        assert_eq!(status.metadata().get("www-authenticate").unwrap(), "Bearer", "{}", method.path);
        walked += 1;
    }
    assert!(walked >= 10, "only {walked} methods demand a token");
    issuer.stop().await;
}

#[tokio::test]
async fn every_method_that_demands_a_token_refuses_one_for_another_audience() {
    let issuer = Issuer::start().await;
    let mut channel = issuer.channel();
    let token = issuer.token_of(issuer.example(), "inventory").await;
    for method in POLICY.iter().filter(demands_a_token) {
        let status = call(&mut channel, method, Some(&token)).await.expect("refused at once");
        assert_eq!(reason(&status), "TOKEN_AUDIENCE_MISMATCH", "{}", method.path);
    }
    issuer.stop().await;
}

#[tokio::test]
async fn every_public_method_is_served_and_authenticates_by_itself() {
    let issuer = Issuer::start().await;
    let mut channel = issuer.channel();
    for method in POLICY.iter().filter(|method| method.access == Access::Public) {
        let status = call(&mut channel, method, None).await;
        let service = method.path.split('/').nth(1).unwrap();
        match service {
            // The issuer and its keys are public.
            "m2m.token.v1.TrustService" => {
                assert!(status.is_none_or(|status| status.code() == Code::Ok), "{}", method.path)
            }
            // A caller without credentials is rejected.
            "m2m.token.v1.TokenService" => {
                let code = status.expect("refused at once").code();
                assert!(
                    matches!(code, Code::Unauthenticated | Code::Unimplemented),
                    "{} answers {code:?}",
                    method.path
                );
            }
            other => panic!("{other} is public, and not in this test"),
        }
    }
    issuer.stop().await;
}

#[tokio::test]
async fn undeclared_methods_are_denied_with_any_token() {
    let issuer = Issuer::start().await;
    let mut channel = issuer.channel();
    let token = issuer.token_of(issuer.admin(), "m2m.admin.v1").await;
    for path in ["/m2m.admin.v1.ClientService/Nothing", "/m2m.admin.v1.ClientService//ListClients"] {
        let method = MethodPolicy::new(path.into(), "".into(), Access::Undeclared, MethodKind::Unary);
        let status = call(&mut channel, &method, Some(&token)).await.expect("refused at once");
        assert_ne!(status.code(), Code::Ok, "{path}");
    }
    issuer.stop().await;
}

/// Sends a body as JSON over HTTP. Returns the status and the answer.
async fn json(channel: &mut Channel, path: &str, body: String) -> (u16, String) {
    use http_body_util::BodyExt as _;
    let body = Body::new(Full::from(body).map_err(|never| match never {}));
    let request = Request::post(path).header("content-type", "application/json").body(body).unwrap();
    let response = channel.ready().await.unwrap().call(request).await.unwrap();
    let status = response.status().as_u16();
    (status, String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
}

/// A message that cannot be read may have a secret anywhere, also in the place of a name.
#[tokio::test]
async fn secrets_in_json_are_in_no_log_and_no_error() {
    use secrecy::ExposeSecret as _;
    let issuer = Issuer::start().await;
    let (mut channel, secret) = (issuer.channel(), issuer.example().secret.expose_secret());
    let path = "/m2m.token.v1.TokenService/IssueToken";
    let client = format!(r#""client":{{"clientId":"{}","clientSecret":"{secret}"}}"#, issuer.example().id);
    let (status, token) = json(&mut channel, path, format!(r#"{{{client},"audiences":["inventory"]}}"#)).await;
    assert_eq!(status, 200);
    issuer.keep_secret(token.split(r#""value":""#).nth(1).unwrap().split('"').next().unwrap());
    for unreadable in [
        format!("{{{client}"),
        format!("{{{client},{client}}}"),
        format!(r#"{{"client":"{secret}"}}"#),
        format!(r#"{{"{secret}":1}}"#),
        format!(r#"{{{client},"lifetime":"{secret}"}}"#),
        format!(r#"{{{client},"scopes":{{"{secret}":1}}}}"#),
        secret.to_owned(),
    ] {
        let (status, told) = json(&mut channel, path, unreadable.clone()).await;
        assert!(status == 400 && told.contains("INVALID_REQUEST"), "{unreadable}: {status} {told}");
        assert!(!told.contains(secret), "{told}");
    }
    issuer.stop().await;
}
