//! Requests to an issuer carry their span: over HTTP for tokens and keys, over gRPC for tokens.
//!
//! A test program of its own, as subscriber and propagation are global to the process.

#![allow(clippy::unwrap_used, reason = "one test program: what is unexpected fails the test")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use opentelemetry::{
    propagation::{Injector, TextMapPropagator as _},
    trace::TracerProvider as _,
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use serde_json::json;
use token_interceptor::{
    attach::AttachLayer,
    source::{ClientCredentials, IssuerBuilder, TokenRequest},
    test_util::TestIssuer,
    token::UnverifiedToken,
    trace_context,
    verify::{TrustedIssuer, Verifier},
};
use tonic::transport::Endpoint;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

struct Fields<'a>(&'a mut HeaderMap);

impl Injector for Fields<'_> {
    fn set(&mut self, name: &str, value: String) {
        self.0.insert(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
    }
}

/// The ended spans, by the ID in `traceparent`.
#[derive(Clone, Debug, Default)]
struct Spans(Arc<Mutex<BTreeMap<String, String>>>);

impl SpanExporter for Spans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        for span in batch {
            let id = format!("{}-{}", span.span_context.trace_id(), span.span_context.span_id());
            self.0.lock().unwrap().insert(id, span.name.into_owned());
        }
        Ok(())
    }
}

/// `traceparent` of each request, by path.
#[derive(Clone, Default)]
struct Issuer(Arc<Mutex<BTreeMap<String, String>>>);

impl Issuer {
    async fn start(&self, jwks: String) -> String {
        let this = self.clone();
        let answer = async move |request: Request| this.answer(&request, jwks);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        url
    }

    fn answer(&self, request: &Request, jwks: String) -> Response {
        let path = request.uri().path().to_owned();
        let parent = request.headers().get("traceparent").map(|parent| parent.to_str().unwrap().to_owned());
        self.0.lock().unwrap().insert(path.clone(), parent.unwrap_or_default());
        match path.as_str() {
            "/token" => {
                axum::Json(json!({"access_token": "t", "token_type": "Bearer", "expires_in": 300})).into_response()
            }
            "/jwks" => jwks.into_response(),
            _ => ([(CONTENT_TYPE, "application/grpc"), (HeaderName::from_static("grpc-status"), "16")], ())
                .into_response(),
        }
    }
}

#[tokio::test]
async fn each_request_to_an_issuer_goes_on_in_the_span_that_it_is_made_in() {
    let spans = Spans::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();
    trace_context::propagate(|headers| {
        TraceContextPropagator::new().inject_context(&tracing::Span::current().context(), &mut Fields(headers));
    });
    let (issuer, signer) = (Issuer::default(), TestIssuer::new("https://issuer.example"));
    let url = issuer.start(signer.jwks()).await;
    let token = async |reach| {
        let source = ClientCredentials::new("orders", "secret", reach).unwrap();
        AttachLayer::new(source).token(TokenRequest::for_audience("inventory")).get().await
    };

    token(IssuerBuilder::token_endpoint(format!("{url}/token"))).await.unwrap();
    token(IssuerBuilder::grpc(Endpoint::from_shared(url.clone()).unwrap())).await.unwrap_err();
    let trusted = TrustedIssuer::jwks(signer.issuer(), &format!("{url}/jwks")).unwrap();
    let verifier = Verifier::builder().issuer(trusted).clock(signer.clock()).build().unwrap();
    let presented = signer.token().sign();
    verifier.verify_with_fetch(UnverifiedToken::new(&presented), "inventory", verifier.now()).await.unwrap();

    let (sent, spans) = (issuer.0.lock().unwrap().clone(), spans.0.lock().unwrap().clone());
    let span_of = |path: &str| {
        let parent = sent.get(path).unwrap_or_else(|| panic!("{path}: not asked"));
        let id = parent.strip_prefix("00-").and_then(|rest| rest.strip_suffix("-01")).unwrap_or_default();
        spans.get(id).unwrap_or_else(|| panic!("{path}: {parent:?} is none of {spans:?}"))
    };
    assert_eq!(span_of("/token"), "obtain token");
    assert_eq!(span_of("/m2m.token.v1.TokenService/IssueToken"), "obtain token");
    assert_eq!(span_of("/jwks"), "fetch keys");
}
