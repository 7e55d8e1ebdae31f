//! A hundred verifiers that watch the issuer, and a token that is revoked.

use std::time::{Duration, Instant};

use token_interceptor::{
    token::UnverifiedToken,
    verify::{TrustedIssuer, Verifier},
};
use token_proto::token::v1::{self, token_service_client::TokenServiceClient};
use tonic::transport::Endpoint;

use crate::{
    issuer::{CLIENT_ID, Site},
    load,
    report::Row,
};

const VERIFIERS: usize = 100;
const TOKENS: usize = 5;

pub(crate) fn measure() -> Vec<Row> {
    let site = Site::new(0, "threads = 1", "");
    let server = site.start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let slowest = runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
        let mut tokens = TokenServiceClient::new(endpoint.connect().await.unwrap());
        let verifiers: Vec<_> = (0..VERIFIERS)
            .map(|_| {
                let trusted = TrustedIssuer::watch("https://issuer.example", endpoint.clone()).unwrap();
                Verifier::builder().issuer(trusted).build().unwrap()
            })
            .collect();
        let mut slowest = Duration::ZERO;
        for _ in 0..TOKENS {
            slowest = slowest.max(revoked_everywhere(&mut tokens, &verifiers).await);
        }
        slowest
    });
    vec![Row::goal(
        format!("a token revoked → refused by each of {VERIFIERS} connected verifiers"),
        "≤ 1 s",
        format!("{:.0} ms, the slowest of {TOKENS} × {VERIFIERS}", slowest.as_secs_f64() * 1e3),
        slowest <= Duration::from_secs(1),
    )]
}

/// The time from the request to revoke a token to the last verifier's rejection.
async fn revoked_everywhere(
    tokens: &mut TokenServiceClient<tonic::transport::Channel>,
    verifiers: &[Verifier],
) -> Duration {
    let message = load::message(CLIENT_ID);
    let client = message.client.clone();
    let token = tokens.issue_token(message).await.unwrap().into_inner().token.unwrap().value;
    for verifier in verifiers {
        let verified = verifier.verify_with_fetch(UnverifiedToken::new(&token), "inventory", verifier.now());
        verified.await.expect("a fresh token is good");
    }
    let started = Instant::now();
    tokens.revoke_token(v1::RevokeTokenRequest { client, token: token.clone() }).await.unwrap();
    let mut accepting: Vec<_> = verifiers.iter().collect();
    while !accepting.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(10), "{} still accept it", accepting.len());
        accepting.retain(|verifier| verifier.verify(UnverifiedToken::new(&token), "inventory", verifier.now()).is_ok());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    started.elapsed()
}
