//! Another scheme beside `Bearer`: the same policy, answers, metrics and log as for a token.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use http::HeaderName;
use token_interceptor::{
    api_keys::{ApiKey, ApiKeys, KeyHash},
    clock::Clock as _,
    error::Denied,
    scheme::{Asked, Authenticate, CredentialPlace, Identity},
    token::UnverifiedToken,
};
use token_proto::policy::ClaimRequirement;

use super::{recorder::Measured, *};

const GET: &str = "/inventory.v1.InventoryService/GetItem";
const HOURS: &str = "/inventory.v1.InventoryService/GetOpeningHours";
const LIST: &str = "/inventory.v1.InventoryService/ListItems";

/// A scheme whose credentials say what they prove.
#[derive(Debug)]
struct Passes {
    place: CredentialPlace,
    revoked: Arc<Mutex<bool>>,
}

#[tonic::async_trait]
impl Authenticate for Passes {
    fn name(&self) -> &'static str {
        "pass"
    }

    fn place(&self) -> CredentialPlace {
        self.place.clone()
    }

    async fn authenticate(&self, pass: UnverifiedToken<'_>, asked: &Asked<'_>) -> Result<Identity, Denied> {
        let minute = Duration::from_secs(60);
        let shop = Identity::new("shop", ["inventory"]).scopes(["inventory.read"]);
        Ok(match pass.expose() {
            "valid" => shop,
            "noted" => shop.notice(HeaderName::from_static("x-note"), HeaderValue::from_static("soon")),
            "gold" => shop.claim("tier", "gold").issued_at(asked.now),
            "elsewhere" => Identity::new("shop", ["billing"]).scopes(["inventory.read"]),
            "no-scope" => Identity::new("shop", ["inventory"]).scopes(["inventory.read inventory.write", ""]),
            "past" => shop.expires_at(asked.now - minute),
            "short" => shop.expires_at(asked.now + minute),
            "revocable" => {
                let revoked = Arc::clone(&self.revoked);
                shop.while_ok(move |_| match *revoked.lock().unwrap() {
                    true => Err(Denied::credential("pass", "the pass was withdrawn")),
                    false => Ok(()),
                })
            }
            "unnamed" => Identity::new("", ["inventory"]).scopes(["inventory.read"]),
            "late" => return Err(Denied::credential_expired("pass", "the pass has expired")),
            "down" => return Err(Denied::unavailable("pass_backend", minute, "the desk is closed")),
            "silent" => pending().await,
            _ => return Err(Denied::credential("pass", "the pass is unknown")),
        })
    }
}

fn passes(place: CredentialPlace) -> Passes {
    Passes { place, revoked: Arc::default() }
}

fn in_header() -> CredentialPlace {
    CredentialPlace::Header(HeaderName::from_static("x-pass"))
}

fn layer(issuer: &TestIssuer, change: impl Fn(&mut MethodPolicy)) -> AuthorizationLayer {
    let mut methods = policy();
    methods.iter_mut().for_each(change);
    let policy = Policy::new(&methods).unwrap().serves(DESCRIPTORS, &[SERVICE_NAME]).unwrap();
    AuthorizationLayer::new(issuer.verifier(), policy)
}

/// A handler's view of a call: its caller by scheme, issuer and client, and the header fields that came.
type Seen = Option<(Option<[String; 3]>, HeaderMap)>;

async fn call(layer: &AuthorizationLayer, path: &str, fields: &[(&'static str, &str)]) -> (http::Response<()>, Seen) {
    let handler = tower::service_fn(|request: http::Request<Body>| async move {
        let caller = request.extensions().get::<Caller>();
        let caller = caller.map(|caller| [caller.scheme(), caller.issuer(), caller.client_id()].map(str::to_owned));
        let mut response = http::Response::new(Body::empty());
        response.extensions_mut().insert((caller, request.headers().clone()));
        Ok::<_, Infallible>(response)
    });
    let mut request = http::Request::post(path).body(Body::empty()).unwrap();
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    for (name, value) in fields {
        request.headers_mut().append(HeaderName::from_static(name), value.parse().unwrap());
    }
    let mut response = layer.layer(handler).oneshot(request).await.unwrap().map(|_| ());
    let seen = response.extensions_mut().remove();
    (response, seen)
}

/// Returns the status of a refused call: code, reason, and the failed check.
fn refusal(response: &http::Response<()>) -> (Code, String, &'static str) {
    let status = Status::from_header_map(response.headers()).unwrap();
    let (code, reason) = reason(&status);
    (code, reason, response.extensions().get::<DeniedCall>().unwrap().detail())
}

#[tokio::test(start_paused = true)]
async fn a_scheme_meets_the_policy_as_a_token_does() {
    let issuer = TestIssuer::new("https://issuer.example");
    let plain = layer(&issuer, |_| {}).scheme(passes(in_header())).unwrap();
    let demanding = |change: fn(&mut Requirement)| {
        let changed = move |method: &mut MethodPolicy| {
            if let Access::Require(requirement) = &mut method.access {
                change(requirement);
            }
        };
        layer(&issuer, changed).scheme(passes(in_header())).unwrap()
    };
    let named = demanding(|requirement| requirement.callers = vec!["shop".into()].into());
    let others = demanding(|requirement| requirement.callers = vec!["billing".into()].into());
    let fresh = demanding(|requirement| requirement.max_token_age = Some(Duration::from_secs(60)));
    let gold = demanding(|requirement| {
        requirement.claims = vec![ClaimRequirement::new("tier".into(), vec!["gold".into()].into())].into();
    });
    let (unauthenticated, denied) = (Code::Unauthenticated, Code::PermissionDenied);
    for (layer, pass, expected) in [
        (&plain, "valid", None),
        (&plain, "gold", None),
        (&named, "valid", None),
        (&fresh, "gold", None),
        (&gold, "gold", None),
        (&plain, "elsewhere", Some((unauthenticated, "TOKEN_AUDIENCE_MISMATCH", "audience"))),
        (&plain, "past", Some((unauthenticated, "TOKEN_EXPIRED", "expired"))),
        (&plain, "no-scope", Some((denied, "SCOPE_INSUFFICIENT", "scope"))),
        (&others, "valid", Some((denied, "CALLER_NOT_ALLOWED", "caller"))),
        (&fresh, "valid", Some((denied, "TOKEN_TOO_OLD", "token_age"))),
        (&gold, "valid", Some((denied, "CALLER_NOT_ALLOWED", "claim"))),
        (&plain, "unnamed", Some((unauthenticated, "TOKEN_INVALID", "identity"))),
        (&plain, "made-up", Some((unauthenticated, "TOKEN_INVALID", "pass"))),
        (&plain, "late", Some((unauthenticated, "TOKEN_EXPIRED", "pass"))),
        (&plain, "down", Some((Code::Unavailable, "TRUST_UNAVAILABLE", "pass_backend"))),
        (&plain, "silent", Some((Code::Unavailable, "TRUST_UNAVAILABLE", "scheme_timed_out"))),
        (&plain, "", Some((unauthenticated, "TOKEN_INVALID", "credentials_malformed"))),
    ] {
        let (response, seen) = call(layer, GET, &[("x-pass", pass)]).await;
        match expected {
            None => assert_eq!(seen.unwrap().0, Some(["pass", "pass", "shop"].map(str::to_owned)), "{pass}"),
            Some((code, reason, check)) => {
                assert!(seen.is_none(), "{pass}");
                assert_eq!(refusal(&response), (code, reason.to_owned(), check), "{pass}");
            }
        }
    }
}

#[tokio::test]
async fn a_backend_that_is_down_says_when_to_ask_again() {
    let issuer = TestIssuer::new("https://issuer.example");
    let layer = layer(&issuer, |_| {}).scheme(passes(in_header())).unwrap();
    let (response, _) = call(&layer, GET, &[("x-pass", "down")]).await;
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(60)));
    // The party at fault is for the log alone.
    assert!(!status.message().contains("desk"));
    let denied = response.extensions().get::<DeniedCall>().unwrap().denied();
    assert!(denied.to_string().contains("the desk is closed"));
}

#[tokio::test]
async fn two_credentials_are_an_error_and_no_preference() {
    let issuer = TestIssuer::new("https://issuer.example");
    let token = issuer.token().scope("inventory.read").sign();
    let bearer = format!("Bearer {token}");
    let layer = layer(&issuer, |_| {}).scheme(passes(in_header())).unwrap();
    let layer = layer.scheme(passes(CredentialPlace::Authorization("Pass"))).unwrap();
    let several = (Code::Unauthenticated, "TOKEN_INVALID".to_owned(), "credentials_several");
    let malformed = (Code::Unauthenticated, "TOKEN_INVALID".to_owned(), "credentials_malformed");
    for (fields, expected) in [
        (&[("authorization", &*bearer)][..], None),
        (&[("x-pass", "valid")], None),
        (&[("authorization", "pass valid")], None),
        (&[("x-pass", "valid"), ("authorization", &bearer)], Some(&several)),
        (&[("x-pass", "valid"), ("authorization", "Basic YTpi")], Some(&several)),
        (&[("x-pass", "made-up"), ("authorization", &bearer)], Some(&several)),
        (&[("x-pass", "valid"), ("authorization", "Pass valid")], Some(&several)),
        (&[("x-pass", "valid"), ("x-pass", "valid")], Some(&malformed)),
        (&[("authorization", "Pass valid"), ("authorization", &bearer)], Some(&malformed)),
        (&[("authorization", &bearer), ("authorization", "Pass valid")], Some(&malformed)),
    ] {
        let (response, seen) = call(&layer, GET, fields).await;
        assert_eq!(seen.is_some(), expected.is_none(), "{fields:?}");
        if let Some(expected) = expected {
            assert_eq!(&refusal(&response), expected, "{fields:?}");
        }
    }
}

#[tokio::test]
async fn an_opaque_bearer_token_goes_to_its_scheme_and_a_jwt_does_not() {
    let issuer = TestIssuer::new("https://issuer.example");
    let layer = layer(&issuer, |_| {}).scheme(passes(CredentialPlace::OpaqueBearer)).unwrap();
    let token = issuer.token().scope("inventory.read").sign();
    for (token, scheme) in [("valid", Some("pass")), (&*token, Some("bearer")), ("made-up", None), ("a.b.c", None)] {
        let (_, seen) = call(&layer, GET, &[("authorization", &format!("Bearer {token}"))]).await;
        let came_by = seen.and_then(|(caller, _)| caller).map(|[scheme, _, _]| scheme);
        assert_eq!(came_by.as_deref(), scheme, "{token}");
    }
}

#[tokio::test]
async fn no_handler_sees_the_credential_once_the_layer_enforces() {
    let issuer = TestIssuer::new("https://issuer.example");
    let enforcing = || {
        let layer = layer(&issuer, |_| {}).scheme(passes(in_header())).unwrap();
        layer.scheme(passes(CredentialPlace::Authorization("Pass"))).unwrap()
    };
    for path in [GET, HOURS] {
        for (name, value) in [("x-pass", "valid"), ("authorization", "Pass valid")] {
            let (_, seen) = call(&enforcing(), path, &[(name, value)]).await;
            assert!(!seen.unwrap().1.contains_key(name), "{path} {name}");
            // While the layer observes, the service may check the credential itself.
            let (_, seen) = call(&enforcing().observe(), path, &[(name, value)]).await;
            let headers = seen.unwrap().1;
            assert_eq!(headers[name], value, "{path}");
            assert!(headers[name].is_sensitive() && !format!("{headers:?}").contains("valid"));
        }
    }
    // A token is none of a scheme's credentials.
    let token = format!("Bearer {}", issuer.token().scope("inventory.read").sign());
    let (_, seen) = call(&enforcing(), GET, &[("authorization", &token)]).await;
    let (caller, headers) = seen.unwrap();
    assert_eq!(caller, Some(["bearer", "https://issuer.example", "orders"].map(str::to_owned)));
    assert_eq!(headers["authorization"], token);
}

#[tokio::test]
async fn a_public_method_knows_the_caller_of_a_scheme_too() {
    let issuer = TestIssuer::new("https://issuer.example");
    let identify = |method: &mut MethodPolicy| {
        if method.path == HOURS {
            method.access = Access::Identify;
        }
    };
    let layer = layer(&issuer, identify).scheme(passes(in_header())).unwrap();
    for (fields, expected) in [
        (&[][..], Some(None)),
        (&[("x-pass", "valid")], Some(Some("shop".to_owned()))),
        (&[("x-pass", "made-up")], None),
        (&[("x-pass", "")], None),
    ] {
        let (_, seen) = call(&layer, HOURS, fields).await;
        let client = seen.map(|(caller, _)| caller.map(|[_, _, client_id]| client_id));
        assert_eq!(client, expected, "{fields:?}");
    }
}

#[tokio::test]
async fn the_programs_own_rule_decides_about_a_scheme_too() {
    let issuer = TestIssuer::new("https://issuer.example");
    let layer = layer(&issuer, |_| {}).scheme(passes(in_header())).unwrap();
    let layer = layer.check(|caller, request| {
        assert!(!request.headers.contains_key("x-pass"));
        match caller.scheme() {
            "bearer" => Ok(()),
            _ => Err(Denied::custom("tokens_only", "this method takes tokens alone")),
        }
    });
    let (response, _) = call(&layer, GET, &[("x-pass", "valid")]).await;
    assert_eq!(refusal(&response), (Code::PermissionDenied, "CALLER_NOT_ALLOWED".to_owned(), "tokens_only"));
}

#[test]
fn a_schemes_calls_are_counted_as_those_of_tokens() {
    let issuer = TestIssuer::new("https://issuer.example");
    let layer = layer(&issuer, |_| {}).scheme(passes(in_header())).unwrap();
    let observed = layer.clone().observe();
    let measured = Measured::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    metrics::with_local_recorder(&measured, || {
        runtime.block_on(async {
            for pass in ["valid", "no-scope", "made-up"] {
                call(&layer, GET, &[("x-pass", pass)]).await;
                assert!(call(&observed, GET, &[("x-pass", pass)]).await.1.is_some(), "{pass}");
            }
        });
    });
    let row = |outcome, reason| format!("token_decisions_total outcome={outcome} reason={reason} method={GET}");
    let expected = BTreeMap::from([
        (row("allowed", "ok"), 2),
        (row("denied", "scope"), 1),
        (row("denied", "pass"), 1),
        (row("would_deny", "scope"), 1),
        (row("would_deny", "pass"), 1),
    ]);
    assert_eq!(measured.counts(), expected);
}

#[test]
fn a_place_has_one_scheme_and_never_that_of_tokens() {
    let issuer = TestIssuer::new("https://issuer.example");
    let layer = layer(&issuer, |_| {}).scheme(passes(in_header())).unwrap();
    for place in [in_header(), CredentialPlace::Authorization("Bearer"), CredentialPlace::Header(AUTHORIZATION)] {
        let error = layer.clone().scheme(passes(place)).unwrap_err();
        assert!(error.to_string().contains("the scheme pass"), "{error}");
    }
}

/// Opens a stream and returns the seconds until it ends, and its status.
async fn end_of_stream(pass: &str, revoke_after: u64) -> Option<(u64, (Code, String))> {
    let issuer = TestIssuer::new("https://issuer.example");
    let passes = passes(in_header());
    let revoked = Arc::clone(&passes.revoked);
    let layer = layer(&issuer, |_| {}).scheme(passes).unwrap();
    let handler = tower::service_fn(|_: http::Request<Body>| async {
        let frames = tokio_stream::once(Ok::<_, Status>(Frame::data(Bytes::from_static(b"message"))));
        Ok::<_, Infallible>(http::Response::new(StreamBody::new(frames.chain(tokio_stream::pending()))))
    });
    let request = http::Request::post(LIST).header("x-pass", pass).header("content-type", "application/grpc");
    let response = layer.layer(handler).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let mut body = std::pin::pin!(response.into_body());
    assert!(body.frame().await.unwrap().unwrap().is_data());
    for second in 0..600 {
        if second == revoke_after {
            *revoked.lock().unwrap() = true;
        }
        if let Ok(frame) = tokio::time::timeout(Duration::from_secs(1), body.frame()).await {
            let trailers = frame.unwrap().unwrap().into_trailers().unwrap();
            return Some((second, reason(&Status::from_header_map(&trailers).unwrap())));
        }
        issuer.clock().advance(Duration::from_secs(1));
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_the_credential_of_its_scheme() {
    let (after, status) = end_of_stream("short", 600).await.unwrap();
    assert!((65..=67).contains(&after), "{after}");
    assert_eq!(status, (Code::Unauthenticated, "TOKEN_EXPIRED".to_owned()));
    let (after, status) = end_of_stream("revocable", 10).await.unwrap();
    assert!((10..=12).contains(&after), "{after}");
    assert_eq!(status, (Code::Unauthenticated, "TOKEN_INVALID".to_owned()));
    assert_eq!(end_of_stream("valid", 600).await, None);
}

#[tokio::test]
async fn an_answer_has_the_notices_even_if_the_policy_denies() {
    let issuer = TestIssuer::new("https://issuer.example");
    let layer = layer(&issuer, |_| {}).scheme(passes(in_header())).unwrap();
    let delete = "/inventory.v1.InventoryService/DeleteItem";
    for (path, admitted) in [(GET, true), (delete, false)] {
        let (response, seen) = call(&layer, path, &[("x-pass", "noted")]).await;
        assert_eq!((seen.is_some(), &response.headers()["x-note"]), (admitted, &HeaderValue::from_static("soon")));
    }
}

// API keys, on a real server and behind a router.

fn api_keys(now: SystemTime) -> ApiKeys {
    let day = Duration::from_secs(24 * 3600);
    let key = |text: &str, days| {
        ApiKey::new(KeyHash::of(text), "billing", now + day * days).audiences(["inventory"]).scopes(["inventory.read"])
    };
    ApiKeys::new(now - day, [key("legacy-key", 30), key("retired-key", 0)]).unwrap()
}

#[tokio::test]
async fn a_client_with_an_api_key_is_served_and_warned() {
    let issuer = TestIssuer::new("https://issuer.example");
    let layer = layer(&issuer, |_| {}).scheme(api_keys(issuer.clock().now())).unwrap();
    let mut client = serve(layer).await;
    let with_key = |key: &str| {
        let mut request = Request::new(GetItemRequest::default());
        request.metadata_mut().insert("x-api-key", key.parse().unwrap());
        request
    };
    let answer = client.get_item(with_key("legacy-key")).await.unwrap();
    assert_eq!(answer.metadata().get("sunset").unwrap(), "Sat, 31 Jan 2026 00:00:00 GMT");
    assert_eq!(answer.metadata().get("deprecation").unwrap(), "@1767139200");
    assert_eq!(answer.into_inner().asked_by, "billing");

    let status = client.get_item(with_key("retired-key")).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "TOKEN_EXPIRED".into()));
    assert_eq!(status.message(), "the sunset date of the API key has passed; use a token");
    let status = client.get_item(with_key("made-up")).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "TOKEN_INVALID".into()));

    let mut delete = Request::new(DeleteItemRequest::default());
    delete.metadata_mut().insert("x-api-key", "legacy-key".parse().unwrap());
    let status = client.delete_item(delete).await.unwrap_err();
    assert_eq!(reason(&status), (Code::PermissionDenied, "SCOPE_INSUFFICIENT".into()));
    assert_eq!(status.metadata().get("sunset").unwrap(), "Sat, 31 Jan 2026 00:00:00 GMT");
}

#[tokio::test]
async fn an_api_key_opens_an_http_route_too() {
    let issuer = TestIssuer::new("https://issuer.example");
    let demand = Requirement::any_token().with_all_scopes(["inventory.read"]);
    let layer = AuthorizationLayer::requiring(issuer.verifier(), "inventory", demand);
    let layer = layer.scheme(api_keys(issuer.clock().now())).unwrap();
    let router = Router::new().route("/", get(|caller: Caller| async move { caller.client_id().to_owned() }));
    for (key, status, sunset) in [("legacy-key", 200, true), ("retired-key", 401, false), ("made-up", 401, false)] {
        let request = http::Request::get("/").header("x-api-key", key).body(axum::body::Body::empty()).unwrap();
        let answer = router.clone().layer(layer.clone()).oneshot(request).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers().contains_key("sunset")), (status, sunset), "{key}");
    }
}

#[test]
fn uses_of_api_keys_are_counted_by_registered_client() {
    let issuer = TestIssuer::new("https://issuer.example");
    let layer = layer(&issuer, |_| {}).scheme(api_keys(issuer.clock().now())).unwrap();
    let measured = Measured::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    metrics::with_local_recorder(&measured, || {
        runtime.block_on(async {
            for key in ["legacy-key", "legacy-key", "retired-key", "made-up", "made-up-2"] {
                call(&layer, GET, &[("x-api-key", key)]).await;
            }
        });
    });
    let used = measured.counts().into_iter().filter(|(name, _)| name.starts_with("token_api_keys"));
    assert_eq!(used.collect::<Vec<_>>(), [("token_api_keys_used_total client=billing".to_owned(), 3)]);
}

#[tokio::test]
async fn a_caller_with_an_api_key_has_no_token_to_exchange() {
    let issuer = TestIssuer::new("https://issuer.example");
    let layer = layer(&issuer, |_| {}).scheme(api_keys(issuer.clock().now())).unwrap();
    let next = issuer.clone();
    let handler = tower::service_fn(move |request: http::Request<Body>| {
        let tokens = AttachLayer::new(next.source()).policy(&policy()).on_behalf_of_caller();
        let tokens = tokens.to(&"http://127.0.0.1".parse().unwrap()).unwrap();
        let caller = request.extensions().get::<Caller>().unwrap().clone();
        assert!(caller.bearer().is_none());
        async move {
            let callee = tower::service_fn(|_: http::Request<Body>| async {
                Ok::<_, Infallible>(http::Response::new(Body::empty()))
            });
            let mut onward = http::Request::post(GET).body(Body::empty()).unwrap();
            onward.extensions_mut().insert(caller);
            Ok::<_, Infallible>(tokens.layer(callee).oneshot(onward).await.unwrap())
        }
    });
    let request = http::Request::post(GET).header("x-api-key", "legacy-key").body(Body::empty()).unwrap();
    let answer = layer.layer(handler).oneshot(request).await.unwrap();
    let status = Status::from_header_map(answer.headers()).unwrap();
    assert_eq!(reason(&status), (Code::FailedPrecondition, "PRECONDITION_FAILED".to_owned()));
}
