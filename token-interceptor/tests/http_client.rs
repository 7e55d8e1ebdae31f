//! The bounds of the HTTP client: plaintext, size, time, redirects.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode, response::Redirect, routing::get};
use token_interceptor::{danger::AllowPlaintext, http_client::HttpClient, http_url::HttpUrl};

/// Serves `router` on loopback until the test's runtime ends.
async fn serve(router: Router) -> HttpUrl {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/").parse().unwrap()
}

#[test]
fn refuses_plaintext_to_other_hosts() {
    let client = HttpClient::builder().build().unwrap();
    let refused = client.check(&"http://issuer.example/".parse().unwrap()).unwrap_err();
    assert!(refused.is_plaintext_refused());
    for allowed in ["http://127.0.0.1:1/", "http://[::1]/", "http://localhost/", "https://issuer.example/"] {
        client.check(&allowed.parse().unwrap()).unwrap();
    }
    let named = HttpClient::builder().plaintext(AllowPlaintext).build().unwrap();
    named.check(&"http://issuer.example/".parse().unwrap()).unwrap();
}

/// A server that offers a document under only one media type.
async fn only(media_type: &'static str) -> HttpUrl {
    let answer = move |headers: axum::http::HeaderMap| async move {
        let accept = headers["accept"].to_str().unwrap().to_owned();
        let accepts =
            accept.split(',').any(|range| [media_type, "*/*"].contains(&range.split(';').next().unwrap().trim()));
        (if accepts { StatusCode::OK } else { StatusCode::NOT_ACCEPTABLE }, accept)
    };
    serve(Router::new().route("/", get(answer))).await
}

#[tokio::test]
async fn what_is_accepted_fits_the_document() {
    let client = HttpClient::builder().build().unwrap();
    for media_type in ["application/jwk-set+json", "application/json", "text/plain"] {
        let url = only(media_type).await;
        let keys = client.get_key_set(&url, Default::default()).await.unwrap();
        assert_eq!(keys.status, 200, "{media_type}");
        assert!(keys.body.starts_with(b"application/jwk-set+json"));
        let document = client.get(&url).await.unwrap();
        assert_eq!(document.status, 200, "{media_type}");
        assert!(document.body.starts_with(b"application/json"));
    }
}

#[test]
fn refuses_roots_that_are_not_certificates() {
    assert!(HttpClient::builder().extra_roots_pem("not a certificate").build().is_err());
}

/// Returns a certificate chain of one, and its key.
fn certificate() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["client.example".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn refuses_a_client_certificate_that_is_none_or_is_not_the_keys() {
    let ((chain, key), (_, foreign)) = (certificate(), certificate());
    let build = |chain: &str, key: &str| HttpClient::builder().client_certificate(chain, key.into()).build();
    build(&chain, &key).unwrap();
    for (chain, key) in [("", &*key), ("nothing", &key), (&chain, ""), (&chain, "nothing"), (&chain, &foreign)] {
        let error = build(chain, key).unwrap_err();
        assert!(!error.is_transient());
        assert_eq!(error.to_string(), "the client certificate and its key are not matching PEM");
    }
}

#[test]
fn the_key_of_a_client_certificate_is_not_in_debug() {
    let (chain, key) = certificate();
    let told = format!("{:?}", HttpClient::builder().client_certificate(chain, key.as_str().into()));
    assert!(told.contains("REDACTED") && !told.contains(key.lines().nth(1).unwrap()), "{told}");
    let bytes = format!("{:?}", key.as_bytes());
    assert!(!told.contains(bytes.trim_matches(['[', ']'])), "{told}");
}

#[tokio::test]
async fn does_not_follow_redirects() {
    let hits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&hits);
    let url = serve(Router::new().route("/", get(|| async { Redirect::temporary("/elsewhere") })).route(
        "/elsewhere",
        get(move || async move {
            counted.fetch_add(1, Ordering::Relaxed);
        }),
    ))
    .await;
    let answer = HttpClient::builder().build().unwrap().get(&url).await.unwrap();
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(hits.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn cuts_off_large_bodies() {
    let url = serve(Router::new().route("/", get(|| async { "x".repeat(2000) }))).await;
    let client = HttpClient::builder().body_bytes_max(1000).build().unwrap();
    let error = client.get(&url).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
}

#[tokio::test]
async fn gives_up_on_a_server_that_never_answers() {
    let url = serve(Router::new().route("/", get(std::future::pending::<()>))).await;
    let client = HttpClient::builder().timeout(Duration::from_millis(50)).build().unwrap();
    assert!(client.get(&url).await.unwrap_err().is_timeout());
}

#[tokio::test]
async fn posts_forms_and_json() {
    let echo = axum::routing::post(|headers: axum::http::HeaderMap, body: String| async move {
        format!("{}|{}|{body}", headers["content-type"].to_str().unwrap(), headers["authorization"].to_str().unwrap())
    });
    let url = serve(Router::new().route("/", echo)).await;
    let client = HttpClient::builder().build().unwrap();
    let basic = || Some("Basic abc".parse().unwrap());
    let form = client.post_form(&url, &[("scope", "a b"), ("x", "é")], basic()).await.unwrap();
    assert_eq!(form.body, "application/x-www-form-urlencoded|Basic abc|scope=a+b&x=%C3%A9");
    let json = client.post_json(&url, b"{}".to_vec(), basic()).await.unwrap();
    assert_eq!(json.body, "application/json|Basic abc|{}");
}

/// A proxy that connects every CONNECT to `target`, and records the request heads.
async fn proxy(target: HttpUrl, answer: &'static str) -> (String, Arc<std::sync::Mutex<Vec<String>>>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let target = format!("127.0.0.1:{}", target.port());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            seen.lock().unwrap().push(String::from_utf8(head).unwrap());
            client.write_all(answer.as_bytes()).await.unwrap();
            let mut server = tokio::net::TcpStream::connect(&target).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    (format!("user:secret@{address}"), heads)
}

const CONNECTED: &str = "HTTP/1.1 200 Connection established\r\nVia: p\r\n\r\n";

#[tokio::test]
async fn a_proxy_of_the_environment_is_asked_to_connect() {
    let target = serve(Router::new().route("/", get(|| async { "through" }))).await;
    let (address, heads) = proxy(target.clone(), CONNECTED).await;
    let builder = HttpClient::builder().plaintext(AllowPlaintext);
    let client = builder.proxies_from(move |name| (name == "ALL_PROXY").then(|| address.clone())).build().unwrap();
    let answer = client.get(&"http://issuer.example/".parse().unwrap()).await.unwrap();
    assert_eq!(answer.body, "through");
    let head = heads.lock().unwrap()[0].clone();
    assert!(head.starts_with("CONNECT issuer.example:80 HTTP/1.1\r\nHost: issuer.example:80\r\n"), "{head}");
    assert!(head.contains("\r\nProxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n"), "{head}");
    // This machine is reached directly, without the proxy.
    assert_eq!(client.get(&target).await.unwrap().body, "through");
    assert_eq!(heads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_an_error_with_its_status() {
    let target = serve(Router::new()).await;
    let (address, _) = proxy(target, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
    let client = HttpClient::builder().proxies_from(move |name| (name == "https_proxy").then(|| address.clone()));
    let error = client.build().unwrap().get(&"https://issuer.example/".parse().unwrap()).await.unwrap_err();
    let (mut text, mut next) = (error.to_string(), std::error::Error::source(&error));
    while let Some(error) = next {
        text.push_str(&error.to_string());
        next = error.source();
    }
    assert!(text.contains("407") && !text.contains("secret"), "{text}");
}

#[tokio::test]
async fn what_is_no_http_proxy_is_not_passed_by() {
    let client = HttpClient::builder().proxies_from(|name| (name == "ALL_PROXY").then(|| "socks5://p:1".to_owned()));
    let error = client.build().unwrap().get(&"https://issuer.example/".parse().unwrap()).await.unwrap_err();
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_proxy_is_asked_for_a_public_address_where_only_those_are_allowed() {
    let target = serve(Router::new().route("/", get(|| async { "inside" }))).await;
    let (address, heads) = proxy(target, CONNECTED).await;
    let builder = HttpClient::builder().plaintext(AllowPlaintext).public_addresses_only();
    let client = builder.proxies_from(move |name| (name == "ALL_PROXY").then(|| address.clone())).build().unwrap();
    // The proxy does not get names that resolve to no public address here.
    for host in ["inside.invalid", "10.0.0.1", "[fd00::1]", "169.254.169.254"] {
        assert!(client.get(&format!("http://{host}/").parse().unwrap()).await.is_err(), "{host}");
    }
    assert!(heads.lock().unwrap().is_empty());
    client.get(&"http://8.8.8.8/".parse().unwrap()).await.unwrap();
    assert!(heads.lock().unwrap()[0].starts_with("CONNECT 8.8.8.8:80 "));
}

#[tokio::test]
async fn an_endpoint_for_grpc_is_made_of_a_url_alone() {
    use token_interceptor::http_client::grpc_endpoint;
    assert_eq!(grpc_endpoint("https://a.example/path", b"").unwrap().uri(), "https://a.example:443/");
    assert_eq!(grpc_endpoint("http://[::1]:50051", b"").unwrap().uri(), "http://[::1]:50051/");
    for url in ["a.example", "ftp://a.example", "https://user:pass@a.example", ""] {
        assert!(grpc_endpoint(url, b"").is_err(), "{url}");
    }
    assert!(grpc_endpoint("https://a.example", b"no certificate").is_err());
}
