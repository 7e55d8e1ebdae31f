//! A public method that wants to know its caller.

use token_interceptor::{
    error::Denied,
    source::{IssuedToken, IssuerRefusal, SourceError, TokenRequest, TokenSource},
};

use super::{rollout::call, *};

const HOURS: &str = "/inventory.v1.InventoryService/GetOpeningHours";

fn layer(issuer: &TestIssuer) -> AuthorizationLayer {
    let mut methods = policy();
    methods.iter_mut().filter(|method| method.path == HOURS).for_each(|method| method.access = Access::Identify);
    let policy = Policy::new(&methods).unwrap().serves(DESCRIPTORS, &[SERVICE_NAME]).unwrap();
    AuthorizationLayer::new(issuer.verifier(), policy)
}

#[tokio::test]
async fn a_caller_is_known_anonymous_or_rejected() {
    let issuer = TestIssuer::new("https://issuer.example");
    let layer = layer(&issuer);
    let token = issuer.token().client("shop").scope("");
    let (valid, expired) = (token.sign(), token.clone().claim("exp", 1).sign());
    let elsewhere = token.clone().audience("billing").sign();
    assert_eq!(call(Some(&layer), HOURS, None).await, Some((None, None)));
    assert_eq!(call(Some(&layer), HOURS, Some(&valid)).await, Some((Some("shop".to_owned()), None)));
    for invalid in ["", "rubbish", &format!("{valid}x"), &expired, &elsewhere] {
        assert_eq!(call(Some(&layer), HOURS, Some(invalid)).await, None, "{invalid}");
    }
}

#[tokio::test]
async fn another_scheme_is_rejected_and_not_anonymous() {
    let issuer = TestIssuer::new("https://issuer.example");
    let inner =
        tower::service_fn(|_: http::Request<Body>| async { Ok::<_, Infallible>(http::Response::new(Body::empty())) });
    let request = http::Request::post(HOURS).header("authorization", "Basic YTpi").body(Body::empty()).unwrap();
    let answer = layer(&issuer).layer(inner).oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_http_route_may_know_its_caller_too() {
    let issuer = TestIssuer::new("https://issuer.example");
    let offers =
        get(|caller: Option<Caller>| async move { caller.map_or_else(String::new, |c| c.client_id().to_owned()) });
    let router =
        Router::new().route("/offers", offers).layer(AuthorizationLayer::identifying(issuer.verifier(), "shop"));
    let token = issuer.token().audience("shop").client("orders").sign();
    for (authorization, status, client) in
        [(None, 200, ""), (Some(token.clone()), 200, "orders"), (Some(format!("{token}x")), 401, "")]
    {
        let mut request = http::Request::get("/offers").body(axum::body::Body::empty()).unwrap();
        if let Some(token) = authorization {
            request.headers_mut().insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        }
        let answer = router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), status);
        let body = to_bytes(answer.into_body(), 1000).await.unwrap();
        assert!(status == 401 || body == client.as_bytes(), "{body:?}");
    }
}

#[tokio::test]
async fn an_anonymous_call_reaches_no_rule_of_the_program() {
    let issuer = TestIssuer::new("https://issuer.example");
    let layer = layer(&issuer).check(|_, _| Err(Denied::custom("never", "no caller may")));
    let token = issuer.token().sign();
    assert!(call(Some(&layer), HOURS, None).await.is_some());
    assert!(call(Some(&layer), HOURS, Some(&token)).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_client_layer_identifies_its_program_where_it_can() {
    let issuer = TestIssuer::new("https://issuer.example");
    let mut methods = policy();
    methods.iter_mut().filter(|method| method.path == HOURS).for_each(|method| method.access = Access::Identify);
    let send = |tokens: AttachLayer| {
        let (methods, layer) = (methods.clone(), layer(&issuer));
        async move {
            let handler = tower::service_fn(|request: http::Request<Body>| async move {
                let client = request.extensions().get::<Caller>().map(|caller| caller.client_id().to_owned());
                let mut response = http::Response::new(Body::empty());
                response.extensions_mut().insert(client);
                Ok::<_, Infallible>(response)
            });
            let tokens = tokens.policy(&methods).to(&"http://127.0.0.1".parse().unwrap()).unwrap();
            let request = http::Request::post(HOURS).body(Body::empty()).unwrap();
            let answer = tokens.layer(layer.layer(handler)).oneshot(request).await.unwrap();
            answer.extensions().get::<Option<String>>().cloned()
        }
    };
    let known = AttachLayer::new(issuer.source().client("shop")).clock(issuer.clock());
    assert_eq!(send(known).await, Some(Some("shop".to_owned())));
    for (source, longest) in [(Without::Refused, 0), (Without::Silent, 1)] {
        let start = tokio::time::Instant::now();
        assert_eq!(send(AttachLayer::new(source)).await, Some(None));
        assert!(start.elapsed() <= Duration::from_millis(longest * 1000 + 10), "{:?}", start.elapsed());
    }
}

/// A source without a token.
#[derive(Debug)]
enum Without {
    Refused,
    Silent,
}

#[tonic::async_trait]
impl TokenSource for Without {
    async fn fetch(&self, _: &TokenRequest) -> Result<IssuedToken, SourceError> {
        match self {
            Self::Refused => Err(SourceError::refused(IssuerRefusal::Target, "no grant")),
            Self::Silent => pending().await,
        }
    }
}
