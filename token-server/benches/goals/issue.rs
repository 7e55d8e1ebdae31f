//! The cost of issuing a token, beside its floors.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use token_interceptor::signature::{Algorithm, SigningKey};

use crate::{
    floor,
    issuer::Site,
    load::{self, Face, median},
    process::own_cpu,
    report::Row,
};

const ROUNDS: usize = 7;
const DURATION: Duration = Duration::from_millis(1000);

pub(crate) fn measure() -> Vec<Row> {
    let site = Site::new(0, "threads = 1", "");
    let (floor, issuer) = (floor::start(&["echo"]), site.start());
    let mut signatures = Vec::new();
    let cases = [
        (Face::GrpcEmpty, &floor),
        (Face::GrpcIssue, &floor),
        (Face::HttpIssue, &floor),
        (Face::GrpcIssue, &issuer),
        (Face::HttpIssue, &issuer),
    ];
    // One round at a time, so that the signature takes its turn.
    let mut measured = vec![Vec::new(); cases.len()];
    for round in 0..=ROUNDS {
        let signature = bare_signature(DURATION / 4);
        for ((face, server), measured) in cases.iter().zip(&mut measured) {
            let measurement = load::run(face, server, DURATION);
            if round > 0 {
                measured.push(measurement);
            }
        }
        if round > 0 {
            signatures.push(signature);
        }
    }
    let signature = median(signatures.into_iter());
    let cpu = |n: usize| median(measured.iter().skip(n).take(1).flatten().map(|m| m.cpu_micros));
    let per_second = |n: usize| median(measured.iter().skip(n).take(1).flatten().map(|m| m.per_second));
    let (empty, grpc_echo, http_echo, grpc, http) = (cpu(0), cpu(1), cpu(2), cpu(3), cpu(4));
    let (over_grpc, over_http) = (grpc / (grpc_echo + signature), http / (http_echo + signature));
    let micros = |cpu: f64| format!("{cpu:.1} µs of CPU");
    vec![
        Row::floor("floor: ES256 signature, bare", micros(signature)),
        Row::floor("floor: tonic echo, empty messages", micros(empty)),
        Row::floor("floor: tonic echo, messages as long as a token's", micros(grpc_echo)),
        Row::floor("floor: axum echo over HTTP/1.1, as long as a token's", micros(http_echo)),
        Row::goal(
            "issue over gRPC, ES256, everything on",
            "≤ 1.15 × (tonic echo + signature)",
            format!("{grpc:.1} µs, {over_grpc:.2} × ({:.2} × of empty messages)", grpc / (empty + signature)),
            over_grpc <= 1.15,
        ),
        Row::goal(
            "issue over HTTP/1.1 form, the same",
            "≤ 1.25 × (axum echo + signature)",
            format!("{http:.1} µs, {over_http:.2} ×"),
            over_http <= 1.25,
        ),
        Row::floor(
            "tokens a second, one server thread, one load thread",
            format!("{:.0} over gRPC, {:.0} over HTTP", per_second(3), per_second(4)),
        ),
    ]
}

/// Microseconds of CPU time for one signature over as many bytes as a token has.
fn bare_signature(duration: Duration) -> f64 {
    let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
    let key = SigningKey::from_der(Algorithm::Es256, &der).unwrap();
    let message = [b'x'; 450];
    let (before, started) = (own_cpu(), Instant::now());
    let mut signatures = 0u32;
    while started.elapsed() < duration {
        for _ in 0..100 {
            black_box(key.sign_bytes(black_box(&message)).unwrap());
        }
        signatures += 100;
    }
    (own_cpu() - before).as_secs_f64() * 1e6 / f64::from(signatures)
}
