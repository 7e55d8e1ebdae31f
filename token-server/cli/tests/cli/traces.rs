//! Spans by OTLP: the data of a caller's trace that a collector gets, and the data that it must not get.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use rustls_pki_types::PrivateKeyDer;
use token_proto::{
    admin::v1::{ListClientsRequest, client_service_client::ClientServiceClient},
    token::v1::{
        ClientAuthentication, IssueTokenRequest, client_authentication::Credential,
        token_service_client::TokenServiceClient,
    },
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status, transport::Server};

use crate::{
    harness::{exchange, program, run},
    serve::{Serving, config, line_with},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A collector that keeps the spans that it receives.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Serves until the runtime ends.
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        tokio::spawn(
            Server::builder().add_service(TraceServiceServer::new(self.clone())).serve_with_incoming(incoming),
        );
        url
    }

    fn spans(&self) -> Vec<Span> {
        let exports = self.0.lock().unwrap();
        let resources = exports.iter().flat_map(|export| &export.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    let value = found.value.as_ref()?.value.as_ref()?;
    if let Value::IntValue(number) = value {
        return Some(number.to_string());
    }
    let Value::StringValue(text) = value else { panic!("{value:?}") };
    Some(text.clone())
}

fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| {
        panic!("no {name} among {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn configure(home: &Path, more: &str) {
    fs::write(home.join("a.toml"), config(home) + more).unwrap();
}

fn post(issuer: &str, form: &str, headers: &str) -> String {
    let length = form.len();
    let request = format!(
        "POST /oauth/token?a=in-the-query HTTP/1.1\r\nContent-Length: {length}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n{headers}\r\n{form}"
    );
    exchange(issuer, &request)
}

fn create(home: &Path, arguments: &[&str]) -> String {
    let command = ["client", "create", "--offline", "--config", "a.toml", "--grant", "inventory=read", "--json"];
    let created = run(home, &[&command, arguments].concat());
    assert_eq!(created.code, 0, "{}", created.stderr);
    let created: serde_json::Value = serde_json::from_str(&created.stdout).unwrap();
    created["client_secret"].as_str().unwrap_or_default().to_owned()
}

async fn issue_over_grpc(issuer: &str, secret: &str, traced: bool) -> String {
    let mut client = TokenServiceClient::connect(issuer.to_owned()).await.unwrap();
    let mut request = Request::new(IssueTokenRequest {
        client: Some(ClientAuthentication {
            client_id: "orders".to_owned(),
            credential: Some(Credential::ClientSecret(secret.to_owned())),
        }),
        audiences: vec!["inventory".to_owned()],
        ..IssueTokenRequest::default()
    });
    if traced {
        request.metadata_mut().insert("traceparent", format!("00-{TRACE}-{PARENT}-01").parse().unwrap());
        request.metadata_mut().insert("x-request-id", "request-over-grpc".parse().unwrap());
    }
    client.issue_token(request).await.unwrap().into_inner().token.unwrap().value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_trace_goes_on_through_the_issuer_and_tells_no_secret() {
    let (home, collector) = (tempfile::tempdir().unwrap(), Collector::default());
    let url = collector.start().await;
    configure(
        home.path(),
        &format!(
            "[telemetry.traces]\nendpoint = \"{url}\"\nsampling_ratio = 0.0\n\
             resource_attributes = [\"deployment.environment.name=test\"]\n"
        ),
    );
    let secret = create(home.path(), &["orders"]);
    let mut serving = Serving::start(home.path());
    let issuer = serving.issuer.clone();

    let token = issue_over_grpc(&issuer, &secret, true).await;
    issue_over_grpc(&issuer, &secret, false).await;
    let form = format!("grant_type=client_credentials&client_id=orders&client_secret={secret}&audience=inventory");
    let answer = post(&issuer, &form, &format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let wrong = form.replace(&secret, "tks_nonsense");
    assert!(post(&issuer, &wrong, &format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n")).starts_with("HTTP/1.1 401"));
    serving.signal("-TERM");
    line_with(&mut serving.log, "\"stopped\"");
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));

    let spans = collector.spans();
    // The request without a parent is not sampled at this ratio.
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE));
    let grpc = named(&spans, "m2m.token.v1.TokenService/IssueToken");
    assert_eq!(hex(&grpc.parent_span_id), PARENT);
    assert_eq!(attribute(grpc, "request_id").as_deref(), Some("request-over-grpc"));
    assert_eq!(attribute(grpc, "rpc.grpc.status_code").as_deref(), Some("0"));
    let decision = spans.iter().find(|span| span.parent_span_id == grpc.span_id).unwrap();
    assert_eq!(decision.name, "issue_token");
    assert_eq!(attribute(decision, "outcome").as_deref(), Some("granted"));
    assert_eq!(attribute(decision, "client_id").as_deref(), Some("orders"));
    for stage in ["authenticate client", "mint token"] {
        assert_eq!(named(&spans, stage).parent_span_id, decision.span_id, "{stage}");
    }
    let http: Vec<_> = spans.iter().filter(|span| span.name == "POST /oauth/token").collect();
    let statuses: Vec<_> = http.iter().filter_map(|span| attribute(span, "http.response.status_code")).collect();
    assert_eq!(statuses, ["200", "401"]);
    assert!(http.iter().all(|span| hex(&span.parent_span_id) == PARENT && attribute(span, "request_id").is_some()));
    let refused = spans.iter().find_map(|span| attribute(span, "reason"));
    assert_eq!(refused.as_deref(), Some("CLIENT_AUTHENTICATION_FAILED"));

    let everything = format!("{:?}", collector.0.lock().unwrap());
    assert!(everything.contains("deployment.environment.name") && everything.contains("token-server"));
    for hidden in [secret.as_str(), &token, "tks_", "in-the-query"] {
        assert!(!everything.contains(hidden), "{hidden} left the process");
    }
}

/// Answers one request with an empty key set, and returns the request. Its certificate is its own root,
/// `ca.pem`.
async fn key_server(home: &Path) -> (tokio::task::JoinHandle<String>, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(home.join("ca.pem"), certificate.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("https://localhost:{}/keys", listener.local_addr().unwrap().port());
    let asked = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap();
        let mut request = vec![0; 4096];
        let read = stream.read(&mut request).await.unwrap();
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\n{\"keys\":[]}";
        stream.write_all(answer).await.unwrap();
        stream.shutdown().await.unwrap();
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    (asked, uri)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_goes_on_to_where_a_clients_keys_are_fetched() {
    let (home, collector) = (tempfile::tempdir().unwrap(), Collector::default());
    let url = collector.start().await;
    configure(
        home.path(),
        &format!("[tokens]\ndanger_jwks_uri_anywhere = true\n[telemetry.traces]\nendpoint = \"{url}\"\n"),
    );
    let (keys, uri) = key_server(home.path()).await;
    create(home.path(), &["robot", "--jwks-uri", &uri]);
    let roots = home.path().join("ca.pem");
    let serving = Serving::start_with(home.path(), &[("SSL_CERT_FILE", roots.to_str().unwrap())]);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let claims = format!(
        r#"{{"iss":"robot","sub":"robot","aud":"{}","exp":{},"iat":{now},"jti":"1"}}"#,
        serving.issuer,
        now + 60
    );
    let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let assertion = [part(br#"{"alg":"ES256","kid":"1"}"#), part(claims.as_bytes()), part(&[1; 64])].join(".");
    let form = format!(
        "grant_type=client_credentials&audience=inventory&client_assertion={assertion}\
         &client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    let answer = post(&serving.issuer, &form, &format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n"));
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let fetch = keys.await.unwrap().to_ascii_lowercase();
    assert!(fetch.contains(&format!("traceparent: 00-{TRACE}-")), "{fetch}");
    assert!(!fetch.contains(PARENT), "the fetch is the issuer's own span: {fetch}");
}

#[test]
fn a_collector_that_hangs_does_not_keep_the_program_from_ending() {
    let home = tempfile::tempdir().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let traces = format!("[telemetry.traces]\nendpoint = \"{url}\"\nsampling_ratio = 1\nflush_deadline = \"300ms\"\n");
    configure(home.path(), &traces);
    let secret = create(home.path(), &["orders"]);
    let mut serving = Serving::start(home.path());
    let mut command = program(home.path());
    command.env("TOKEN_CLIENT_ID", "orders").env("TOKEN_CLIENT_SECRET", secret);
    command.args(["token", "--audience", "inventory", "--issuer", &serving.issuer]);
    assert!(command.output().unwrap().status.success(), "requests do not wait for the collector");
    let asked = std::time::Instant::now();
    serving.signal("-TERM");
    line_with(&mut serving.log, "the last spans may be lost");
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_log_and_audit_name_the_trace_that_they_belong_to() {
    let (home, collector) = (tempfile::tempdir().unwrap(), Collector::default());
    let url = collector.start().await;
    configure(home.path(), &format!("[telemetry.traces]\nendpoint = \"{url}\"\nsampling_ratio = 0.0\n"));
    let filter = [("TOKEN_SERVER__TELEMETRY__LOG_FILTER", "info,token_interceptor=debug")];
    let mut serving = Serving::start_with(home.path(), &filter);
    let mut request = Request::new(ListClientsRequest::default());
    request.metadata_mut().insert("traceparent", format!("00-{TRACE}-{PARENT}-01").parse().unwrap());
    let mut clients = ClientServiceClient::connect(serving.issuer.clone()).await.unwrap();
    clients.list_clients(request).await.unwrap_err();

    let line = line_with(&mut serving.log, "a call is refused");
    serving.signal("-TERM");
    let stopped = line_with(&mut serving.log, "\"stopped\"");
    let mut audit = String::new();
    std::io::Read::read_to_string(&mut serving.child.stdout.take().unwrap(), &mut audit).unwrap();
    let spans = collector.spans();
    for line in [line.trim(), audit.trim()] {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert_eq!(line["trace_id"], TRACE, "{line}");
        assert!(spans.iter().any(|span| line["span_id"] == hex(&span.span_id)), "{line}");
    }
    let stopped: serde_json::Value = serde_json::from_str(&stopped).unwrap();
    assert_eq!(stopped.get("trace_id"), None, "a line of no request");
}
