//! A token that is renewed while calls go on, none of which waits.

use std::time::{Duration, Instant};

use token_interceptor::{
    attach::AttachLayer,
    danger::AllowPlaintext,
    source::{ClientCredentials, IssuerBuilder, TokenRequest},
};
use tonic::transport::Endpoint;

use crate::{
    issuer::{CLIENT_ID, Site, secret},
    report::Row,
};

const DURATION: Duration = Duration::from_secs(6);

pub(crate) fn measure() -> Vec<Row> {
    let site = Site::new(0, "threads = 1", "");
    let server = site.start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (token, first) = runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
        let issuer = IssuerBuilder::grpc(endpoint).plaintext(AllowPlaintext);
        let source = ClientCredentials::new(CLIENT_ID, secret(), issuer).unwrap().lifetime(Duration::from_secs(1));
        let layer = AttachLayer::new(source);
        let token = layer.token(TokenRequest::for_audience("inventory"));
        let first = token.get().await.unwrap().expose().to_owned();
        (token, first)
    });
    let (mut calls, mut waited, mut renewed, mut last) = (0u64, 0u64, 0u32, first);
    let mut latencies = Vec::new();
    let started = Instant::now();
    while started.elapsed() < DURATION {
        let before = Instant::now();
        let attached = token.now();
        latencies.push(before.elapsed());
        calls += 1;
        match attached {
            Ok(attached) if attached.expose() != last => {
                renewed += 1;
                attached.expose().clone_into(&mut last);
            }
            Ok(_) => {}
            Err(_) => waited += 1,
        }
        // A call every few microseconds, so that the machine has other work too.
        std::thread::sleep(Duration::from_micros(20));
    }
    latencies.sort_unstable();
    let at = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).copied().unwrap_or_default();
    vec![Row::goal(
        "renewal under way: calls that wait for a token",
        "none",
        format!(
            "{waited} of {calls}, {renewed} renewals meanwhile; attach p50 {:.0?}, p99.9 {:.1?}",
            at(0.5),
            at(0.999)
        ),
        waited == 0 && renewed >= 3,
    )]
}
