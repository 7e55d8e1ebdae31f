//! What issuing a token costs, beside the floors that it stands on, in one run.
//!
//! `cargo bench -p token-server --bench issue`. CPU time is that of every thread of this process but the load's
//! own, so the server pays for whatever it does in the background too. Each round measures every subject once,
//! in turn, so that a noisy moment hits all alike; the table shows medians. `BENCH_SECONDS` and `BENCH_ROUNDS`
//! make it longer.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a benchmark that cannot go on panics; its result is what it prints"
)]

mod cpu;
mod floor;
mod load;
mod subject;

use std::{hint::black_box, time::Duration};

use token_interceptor::signature::{Algorithm, SigningKey};

use load::{Face, Measurement};

fn main() {
    let setting =
        |name: &str, default: f64| std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default);
    let duration = Duration::from_secs_f64(setting("BENCH_SECONDS", 1.5));
    let rounds = setting("BENCH_ROUNDS", 5.0) as usize;

    let floor = floor::start();
    let subject = subject::start();
    let mut rows = [
        Row::new("floor: gRPC, empty messages", Face::GrpcEmpty, floor),
        Row::new("floor: gRPC, messages of the same size", Face::GrpcIssue, floor),
        Row::new("floor: HTTP/1.1, body of the same size", Face::HttpIssue, floor),
        Row::new("issue over gRPC", Face::GrpcIssue, subject),
        Row::new("issue over HTTP/1.1 form", Face::HttpIssue, subject),
    ];
    let mut signatures = Vec::new();
    for round in 0..=rounds {
        // The first round warms up.
        let signature = bare_signature(duration / 4);
        let measured: Vec<_> = rows.iter().map(|row| load::run(row.face, row.address, duration)).collect();
        if round > 0 {
            signatures.push(signature);
            rows.iter_mut().zip(measured).for_each(|(row, measured)| row.measured.push(measured));
        }
    }
    report(&mut signatures, &rows);
}

struct Row {
    name: &'static str,
    face: Face,
    address: std::net::SocketAddr,
    measured: Vec<Measurement>,
}

impl Row {
    fn new(name: &'static str, face: Face, address: std::net::SocketAddr) -> Self {
        Self { name, face, address, measured: Vec::new() }
    }

    fn median(&self, of: impl Fn(&Measurement) -> f64) -> f64 {
        median(&mut self.measured.iter().map(of).collect::<Vec<_>>())
    }
}

fn report(signatures: &mut [f64], rows: &[Row]) {
    let signature = median(signatures);
    println!("\n{:<42} {:>12} {:>12} {:>10} {:>10}", "", "CPU µs/req", "requests/s", "p50 ms", "p99 ms");
    println!("{:<42} {signature:>12.1}", "floor: ES256 signature, bare");
    for row in rows {
        println!(
            "{:<42} {:>12.1} {:>12.0} {:>10.2} {:>10.2}",
            row.name,
            row.median(|m| m.cpu_micros),
            row.median(|m| m.per_second),
            row.median(|m| m.p50_millis),
            row.median(|m| m.p99_millis),
        );
    }
    println!();
    let cpu = |n: usize| rows[n].median(|m| m.cpu_micros);
    let ratio = |name: &str, cost: f64, floor: f64, goal: f64| {
        println!("{name:<62} {:>5.2}   (goal: at most {goal})", cost / (floor + signature));
    };
    ratio("issue over gRPC / (echo of empty messages + signature)", cpu(3), cpu(0), 1.15);
    ratio("issue over gRPC / (echo of messages of the same size + signature)", cpu(3), cpu(1), 1.15);
    ratio("issue over HTTP/1.1 / (echo + signature)", cpu(4), cpu(2), 1.25);
}

/// Microseconds of CPU time for one signature over as many bytes as a token has.
fn bare_signature(duration: Duration) -> f64 {
    let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
    let key = SigningKey::from_der(Algorithm::Es256, &der).unwrap();
    let message = [b'x'; 450];
    let (before, started) = (cpu::of_this_thread(), std::time::Instant::now());
    let mut signatures = 0u32;
    while started.elapsed() < duration {
        for _ in 0..100 {
            black_box(key.sign_bytes(black_box(&message)).unwrap());
        }
        signatures += 100;
    }
    (cpu::of_this_thread() - before).as_secs_f64() * 1e6 / f64::from(signatures)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
