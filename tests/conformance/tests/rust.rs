//! The Rust layers against every case.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;

use token_conformance::{
    executor::Executor,
    protocol::v1::{conformance_request::Case, conformance_response::Result as Outcome, server_result::Decision},
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
fn an_observing_layer_refuses_no_case() {
    let rust = Executor::start().unwrap();
    let (mut allowed, mut denied) = (0, 0);
    for case in suite::cases().unwrap() {
        let mut request = case.request;
        let Some(Case::Server(server)) = &mut request.case else { continue };
        server.observe = true;
        let name = request.name.clone();
        let Some(Outcome::Server(result)) = rust.run(request).result else { unreachable!("{name}") };
        match (result.decision.unwrap(), result.would_deny) {
            (Decision::Allowed(_), None) => allowed += 1,
            (Decision::Allowed(_), Some(refusal)) => {
                assert_eq!(refusal.domain, "m2m.token.v1", "{name}");
                denied += 1;
            }
            (Decision::StartError(_), _) => {}
            (Decision::Refused(refusal), _) => unreachable!("{name}: {refusal:?}"),
        }
    }
    assert!(allowed >= 10 && denied >= 100, "{allowed} and {denied}");
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
