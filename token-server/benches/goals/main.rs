//! Every goal of the project, measured in one run beside its floor and beside other issuers.
//!
//! `just bench`, which is `cargo bench -p token-cli --bench goals`, prints one table and writes it to
//! docs/performance.md. With names of sections after `--`, it measures only these and writes nothing.
//!
//! Servers are separate processes on loopback, with one thread if CPU time is compared. Linux counts the CPU
//! time of each of their threads, so background work is included. Cases take turns, so that a noisy moment
//! hits all alike; figures are medians. Linux only.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a benchmark that cannot go on panics; its result is what it prints"
)]

#[path = "../../../token-interceptor/benches/attach/case.rs"]
mod attach_case;
mod clients;
mod echo;
mod floor;
mod issue;
mod issuer;
mod latency;
mod layers;
mod load;
mod peers;
mod process;
mod renewal;
mod report;
mod spread;
mod start;
mod streams;
mod tls;
mod trust;
#[path = "../../../token-interceptor/benches/shared/turns.rs"]
mod turns;
#[path = "../../../token-interceptor/benches/verify/case.rs"]
mod verify_case;
#[path = "../../../token-interceptor/benches/verify/scale.rs"]
mod verify_scale;

use std::{path::Path, time::Instant};

struct Section(&'static str, fn() -> Vec<report::Row>);

/// By name, in the order of the table. The layers come first: they take nanoseconds in this process, and a
/// used heap makes memory dearer.
const SECTIONS: [Section; 12] = [
    Section("attach", layers::attach),
    Section("verify", layers::verify),
    Section("scale", layers::scale),
    Section("issue", issue::measure),
    Section("latency", latency::measure),
    Section("spread", spread::measure),
    Section("renewal", renewal::measure),
    Section("clients", clients::measure),
    Section("start", start::measure),
    Section("trust", trust::measure),
    Section("tls", tls::measure),
    Section("peers", peers::measure),
];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = arguments.as_slice()
        && first == floor::ARGUMENT
    {
        return floor::serve(rest);
    }
    // `cargo bench` adds its own.
    let wanted: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let started = Instant::now();
    let mut rows = Vec::new();
    for Section(name, measure) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|wanted| *wanted == name) {
            eprintln!("{:>4} s  {name}", started.elapsed().as_secs());
            rows.extend(measure());
        }
    }
    println!("\n{}", report::table(&rows));
    if wanted.is_empty() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance.md");
        report::write(&page, &rows);
        println!("written to token-server/docs/performance.md after {} s", started.elapsed().as_secs());
    }
}
