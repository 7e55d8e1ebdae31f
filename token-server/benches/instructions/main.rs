//! The instructions that each hot path takes, against a baseline: unlike times, the counts are the same on a
//! busy machine.
//!
//! `just instructions` fails if a path exceeds its baseline by more than the tolerance. `just instructions
//! accept` writes the counts as the new baseline. Callgrind counts the path alone, without the start of the
//! program.
//!
//! Both protocols are called in this process, from the request's head to the last frame of the response. Only
//! the sockets and the framing of HTTP, which are not this project's, are left out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a check that cannot go on panics; its result is what it prints"
)]

#[path = "../../../token-interceptor/benches/attach/case.rs"]
#[allow(dead_code, reason = "the figures are the other benches'")]
mod attach_case;
mod baseline;
#[path = "../goals/issuer.rs"]
#[allow(dead_code, reason = "the program is the other bench's")]
mod issuer;
mod paths;
#[path = "../goals/process.rs"]
#[allow(dead_code, reason = "the program is the other bench's")]
mod process;
#[path = "../../../token-interceptor/benches/shared/turns.rs"]
#[allow(dead_code, reason = "the figures are the other benches'")]
mod turns;
#[path = "../../../token-interceptor/benches/verify/case.rs"]
#[allow(dead_code, reason = "the figures are the other benches'")]
mod verify_case;

use std::process::{Command, ExitCode};

use baseline::Baseline;

const TIMES: u32 = 500;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["run", path, times] => {
            paths::run(path, times.parse().unwrap());
            ExitCode::SUCCESS
        }
        ["accept"] => {
            Baseline::write(&count_all());
            ExitCode::SUCCESS
        }
        ["compare"] => Baseline::read().compare(&count_all()),
        // As plain `cargo bench` does, with another profile and perhaps without valgrind.
        [] => {
            println!("`just instructions` counts, `just instructions accept` writes the baseline");
            ExitCode::SUCCESS
        }
        other => panic!("neither `compare` nor `accept`: {other:?}"),
    }
}

fn count_all() -> Vec<(&'static str, u64)> {
    paths::NAMES.iter().map(|path| (*path, count(path))).collect()
}

/// Instructions of one.
fn count(path: &str) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=instructions::paths::counted*"])
        .arg(std::env::current_exe().unwrap())
        .args(["run", path, &TIMES.to_string()])
        .output()
        .expect("valgrind is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let counted = said.lines().find_map(|line| line.split_once("Collected :"));
    let counted = counted.and_then(|(_, count)| count.trim().parse().ok()).filter(|count: &u64| *count > 0);
    counted.unwrap_or_else(|| panic!("no count in: {said}")) / u64::from(TIMES)
}
