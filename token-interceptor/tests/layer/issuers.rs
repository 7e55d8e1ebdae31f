//! Callers and scopes belong to one issuer, even if several are trusted. RFC 9068 section 4.

use token_interceptor::verify::TrustedIssuer;

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
    AuthorizationLayer::try_new(one_declared, policy_with_callers()).unwrap_err();
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
