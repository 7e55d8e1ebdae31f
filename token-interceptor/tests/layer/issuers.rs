//! Callers and scopes belong to one issuer, even if several are trusted. RFC 9068 section 4.

use token_interceptor::verify::{TokenProfile, TrustedIssuer};

use super::*;

struct Two {
    ours: TestIssuer,
    partner: TestIssuer,
}

fn two() -> Two {
    Two { ours: TestIssuer::new("https://ours.example"), partner: TestIssuer::new("https://partner.example") }
}

type Change = fn(TrustedIssuer) -> TrustedIssuer;

impl Two {
    fn verifier(&self, ours: Change, partner: Change) -> Verifier {
        let builder = Verifier::builder().clock(self.ours.clock());
        builder.issuer(ours(self.ours.trusted())).issuer(partner(self.partner.trusted())).build().unwrap()
    }
}

/// `Delete` for the client `billing` alone; `Get` for any client with the scope.
fn policy_with_callers() -> ServedPolicy {
    let method = |path: &'static str, requirement| {
        MethodPolicy::new(path.into(), "inventory".into(), Access::Require(requirement), MethodKind::Unary)
    };
    let callers = Requirement::any_token().with_callers(["billing"]);
    let scope = Requirement::any_token().with_all_scopes(["inventory.read"]);
    let table = [method("/a.S/Delete", callers), method("/a.S/Get", scope)];
    Policy::new(&table).unwrap().unchecked(danger::UncheckedPolicy)
}

/// Returns the reason of the refusal; `None` for a call that is admitted.
async fn called(layer: &AuthorizationLayer, path: &str, token: &str) -> Option<String> {
    let inner =
        tower::service_fn(|_: http::Request<Body>| async { Ok::<_, Infallible>(http::Response::new(Body::empty())) });
    let request = http::Request::post(path).header("authorization", format!("Bearer {token}"));
    let request = request.header("content-type", "application/grpc").body(Body::empty()).unwrap();
    let answer = layer.clone().layer(inner).oneshot(request).await.unwrap();
    Status::from_header_map(answer.headers()).map(|status| reason(&status).1)
}

#[tokio::test]
async fn callers_of_two_issuers_are_denied_unless_declared() {
    let two = two();
    let token = |issuer: &TestIssuer| issuer.token().client("billing").sign();
    let any: Change = |trusted| trusted;
    let none_declared = two.verifier(any, any);
    let error = AuthorizationLayer::try_new(none_declared.clone(), policy_with_callers()).unwrap_err();
    assert!(error.to_string().contains("/a.S/Delete: names callers"), "{error}");
    // The infallible constructor fails closed.
    let layer = AuthorizationLayer::new(none_declared, policy_with_callers());
    for issuer in [&two.ours, &two.partner] {
        assert_eq!(called(&layer, "/a.S/Delete", &token(issuer)).await.as_deref(), Some("CALLER_NOT_ALLOWED"));
    }

    let declared = two.verifier(|ours| ours.clients(["*"]), |partner| partner.clients(["partner-*"]));
    let layer = AuthorizationLayer::try_new(declared, policy_with_callers()).unwrap();
    assert_eq!(called(&layer, "/a.S/Delete", &token(&two.ours)).await, None);
    assert_eq!(called(&layer, "/a.S/Delete", &token(&two.partner)).await.as_deref(), Some("CALLER_NOT_ALLOWED"));
    // A client that the partner may not issue tokens for is refused everywhere.
    let stranger = two.partner.token().client("billing").scope("inventory.read").sign();
    assert_eq!(called(&layer, "/a.S/Get", &stranger).await.as_deref(), Some("CALLER_NOT_ALLOWED"));
    let partners = two.partner.token().client("partner-1").scope("inventory.read").sign();
    assert_eq!(called(&layer, "/a.S/Get", &partners).await, None);
}

/// An ID token may have any `client_id`: OpenID Connect does not define one.
#[tokio::test]
async fn a_client_id_in_an_identity_token_is_no_caller() {
    let issuer = TestIssuer::new("https://issuer.example");
    let token = issuer.token().client("billing").scope("inventory.read").sign();
    let verifier = |profile: TokenProfile| {
        let builder = Verifier::builder().issuer(issuer.trusted().profile(profile));
        builder.clock(issuer.clock()).build().unwrap()
    };
    let layer = AuthorizationLayer::new(verifier(TokenProfile::identity(["at+jwt"])), policy_with_callers());
    assert_eq!(called(&layer, "/a.S/Get", &token).await, None);
    assert_eq!(called(&layer, "/a.S/Delete", &token).await.as_deref(), Some("CALLER_NOT_ALLOWED"));
    let layer = AuthorizationLayer::new(verifier(TokenProfile::rfc7519()), policy_with_callers());
    assert_eq!(called(&layer, "/a.S/Delete", &token).await, None);
}

#[tokio::test]
async fn issuers_for_different_audiences_need_no_declaration() {
    let two = two();
    let verifier = two.verifier(|ours| ours.audiences(["inventory"]), |partner| partner.audiences(["orders"]));
    let layer = AuthorizationLayer::try_new(verifier, policy_with_callers()).unwrap();
    assert_eq!(called(&layer, "/a.S/Delete", &two.ours.token().client("billing").sign()).await, None);
    let one_declared = two.verifier(|ours| ours.clients(["*"]), |partner| partner);
    let layer = AuthorizationLayer::new(one_declared.clone(), policy_with_callers());
    assert_eq!(called(&layer, "/a.S/Delete", &two.ours.token().client("billing").sign()).await, None);
    let partners = two.partner.token().client("billing").sign();
    assert_eq!(called(&layer, "/a.S/Delete", &partners).await.as_deref(), Some("CALLER_NOT_ALLOWED"));
    AuthorizationLayer::try_new(one_declared, policy_with_callers()).unwrap();
    // The client IDs of two trust domains differ by nature.
    let domain = |id: &str| TestIssuer::new(id).trusted().profile(TokenProfile::spiffe());
    let builder = Verifier::builder().issuer(domain("spiffe://a.example")).issuer(domain("spiffe://b.example"));
    let domains = builder.issuer(two.ours.trusted()).build().unwrap();
    AuthorizationLayer::try_new(domains, policy_with_callers()).unwrap();
    // The other way round: no other issuer may have a client `billing`.
    let limited = two.verifier(|ours| ours, |partner| partner.clients(["partner-*"]));
    let layer = AuthorizationLayer::try_new(limited, policy_with_callers()).unwrap();
    assert_eq!(called(&layer, "/a.S/Delete", &two.ours.token().client("billing").sign()).await, None);
}

#[tokio::test]
async fn issuers_are_added_and_removed_while_calls_go_on() {
    let two = two();
    let verifier = Verifier::builder().no_issuer_yet().clock(two.ours.clock()).build().unwrap();
    let layer = AuthorizationLayer::try_new(verifier.clone(), policy_with_callers()).unwrap();
    let token = |issuer: &TestIssuer| issuer.token().client("billing").scope("inventory.read").sign();
    let (ours, partners) = (token(&two.ours), token(&two.partner));
    let refused = Some("TOKEN_INVALID".to_owned());
    assert_eq!(called(&layer, "/a.S/Get", &ours).await, refused);

    verifier.add(two.ours.trusted()).unwrap();
    verifier.add(two.ours.trusted()).unwrap_err();
    assert_eq!(called(&layer, "/a.S/Delete", &ours).await, None);
    assert_eq!(called(&layer, "/a.S/Get", &partners).await, refused);

    // A partner that may have a client `billing` makes ours ambiguous, also for a cached token.
    verifier.add(two.partner.trusted()).unwrap();
    for token in [&ours, &partners] {
        assert_eq!(called(&layer, "/a.S/Get", token).await, None);
        assert_eq!(called(&layer, "/a.S/Delete", token).await.as_deref(), Some("CALLER_NOT_ALLOWED"));
    }
    assert!(verifier.remove("https://partner.example") && !verifier.remove("https://partner.example"));
    assert_eq!(called(&layer, "/a.S/Delete", &ours).await, None);
    assert_eq!(called(&layer, "/a.S/Get", &partners).await, refused);
    verifier.add(two.partner.trusted().clients(["partner-*"])).unwrap();
    assert_eq!(called(&layer, "/a.S/Delete", &ours).await, None);
    assert_eq!(called(&layer, "/a.S/Get", &partners).await.as_deref(), Some("CALLER_NOT_ALLOWED"));

    // The same identifier with another key is another issuer.
    let again = two.ours.rotated();
    verifier.remove("https://ours.example");
    verifier.add(again.trusted()).unwrap();
    assert_eq!(called(&layer, "/a.S/Get", &ours).await.as_deref(), Some("TOKEN_KEY_UNKNOWN"));
    assert_eq!(called(&layer, "/a.S/Get", &token(&again)).await, None);
    assert_eq!(
        verifier.issuers().iter().map(|id| &**id).collect::<Vec<_>>(),
        ["https://ours.example", "https://partner.example"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_within_a_second_of_its_issuers_removal() {
    let issuer = TestIssuer::new("https://issuer.example");
    let verifier = issuer.verifier();
    let inner = tower::service_fn(|_: http::Request<Body>| async {
        let frame = Frame::data(Bytes::from_static(b"message"));
        let frames = tokio_stream::once(Ok::<_, Status>(frame)).chain(tokio_stream::pending());
        Ok::<_, Infallible>(http::Response::new(StreamBody::new(frames)))
    });
    let layer = AuthorizationLayer::requiring(verifier.clone(), "inventory", Requirement::any_token());
    let request = http::Request::post("/").header("authorization", format!("Bearer {}", issuer.token().sign()));
    let request = request.header("content-type", "application/grpc").body(Body::empty()).unwrap();
    let mut body = std::pin::pin!(layer.layer(inner).oneshot(request).await.unwrap().into_body());
    assert!(body.frame().await.unwrap().unwrap().is_data());
    for removed in [false, true] {
        if removed {
            verifier.remove(issuer.issuer());
        }
        // The verifier's clock is not Tokio's.
        issuer.clock().advance(Duration::from_secs(2));
        let frame = tokio::time::timeout(Duration::from_millis(1001), body.frame()).await;
        assert_eq!(frame.is_ok(), removed);
        if let Ok(frame) = frame {
            let status = Status::from_header_map(&frame.unwrap().unwrap().into_trailers().unwrap()).unwrap();
            assert_eq!(reason(&status).1, "TOKEN_INVALID");
        }
    }
}

#[tokio::test]
async fn scopes_that_an_issuer_may_not_grant_do_not_count() {
    let two = two();
    let verifier = two.verifier(|ours| ours, |partner| partner.scopes(["partner.*", "inventory.list"]));
    let layer = AuthorizationLayer::new(verifier.clone(), policy_with_callers());
    let token = |issuer: &TestIssuer| issuer.token().scope("inventory.read partner.x inventory.list").sign();
    assert_eq!(called(&layer, "/a.S/Get", &token(&two.ours)).await, None);
    let partners = token(&two.partner);
    assert_eq!(called(&layer, "/a.S/Get", &partners).await.as_deref(), Some("SCOPE_INSUFFICIENT"));
    let unverified = token_interceptor::token::UnverifiedToken::new(&partners);
    let verified = verifier.verify(unverified, "inventory", verifier.now()).unwrap();
    assert_eq!(verified.scopes().collect::<Vec<_>>(), ["partner.x", "inventory.list"]);
}

#[test]
fn patterns_of_clients_and_scopes_are_names_or_prefixes() {
    let issuer = TestIssuer::new("https://issuer.example");
    for bad in ["", "a*b", "**", "a b", "*a", "a*", "repo:acme*", "a/é*"] {
        for trusted in [issuer.trusted().clients([bad]), issuer.trusted().scopes([bad])] {
            Verifier::builder().issuer(trusted).build().expect_err(bad);
        }
    }
}
