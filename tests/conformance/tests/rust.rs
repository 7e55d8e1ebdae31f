//! The Rust layers against every case.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;

use token_conformance::{
    executor::Executor,
    runner::{Process, judge},
    suite,
};

#[test]
fn the_rust_layers_pass_every_case() {
    let rust = Executor::start().unwrap();
    let cases = suite::cases().unwrap();
    let failures: Vec<String> = (cases.iter())
        .filter_map(|case| judge(case, rust.run(case.request.clone())))
        .map(|failure| failure.to_string())
        .collect();
    assert!(failures.is_empty(), "{} of {} cases failed:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let cases = suite::cases().unwrap();
    let names: BTreeSet<_> = cases.iter().map(|case| &case.request.name).collect();
    assert_eq!(names.len(), cases.len());
    assert!(cases.len() >= 200, "{}", cases.len());
}

#[test]
fn an_executor_in_a_process_gives_the_same_results() {
    let command = [env!("CARGO_BIN_EXE_conformance").to_owned(), "--serve".to_owned()];
    let mut process = Process::start(&command).unwrap();
    for case in suite::cases().unwrap().iter().step_by(10) {
        let failure = judge(case, process.run(&case.request).unwrap());
        assert!(failure.is_none(), "{failure:?}");
    }
}
