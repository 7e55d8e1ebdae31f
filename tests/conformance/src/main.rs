//! The conformance runner: `conformance --expected-failures FILE -- EXECUTOR [ARGUMENT …]`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::{error::Error, fs, io, path::PathBuf, process::ExitCode};

use clap::Parser;
use token_conformance::{
    executor::Executor,
    runner::{Failure, Process, Report, judge},
    suite,
};

/// Runs the conformance suite against an executor.
#[derive(Debug, Parser)]
struct Arguments {
    /// File with the names of cases that are expected to fail, one per line.
    #[arg(long)]
    expected_failures: Option<PathBuf>,
    /// Run only the cases whose names contain this text.
    #[arg(long, default_value = "")]
    filter: String,
    /// Serve as the Rust executor, on standard input and output.
    #[arg(long)]
    serve: bool,
    /// Print the names of all cases.
    #[arg(long)]
    list: bool,
    /// The command that starts the executor. Without one, the Rust layers are tested.
    #[arg(last = true)]
    executor: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("conformance: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error + Send + Sync>> {
    if arguments.serve {
        Executor::start()?.serve(io::stdin().lock(), io::stdout().lock())?;
        return Ok(true);
    }
    let mut cases = suite::cases()?;
    cases.retain(|case| case.request.name.contains(&arguments.filter));
    if arguments.list {
        cases.iter().for_each(|case| println!("{}", case.request.name));
        return Ok(true);
    }
    let listed = match &arguments.expected_failures {
        Some(file) => fs::read_to_string(file)?,
        None => String::new(),
    };
    let failures = failures(&arguments.executor, &cases)?;
    let report = Report::new(cases.len(), failures, &listed);
    for failure in &report.unexpected {
        println!("FAILED {failure}");
    }
    for name in &report.stale {
        println!("STALE {name}: it is listed as an expected failure, and did not fail: remove it from the list");
    }
    let failed = report.unexpected.len() + report.expected.len();
    println!(
        "{} cases: {} passed, {} failed as expected, {} failed, {} stale",
        report.cases,
        report.cases - failed,
        report.expected.len(),
        report.unexpected.len(),
        report.stale.len()
    );
    Ok(report.is_good())
}

fn failures(executor: &[String], cases: &[suite::Case]) -> Result<Vec<Failure>, Box<dyn Error + Send + Sync>> {
    let mut failures = Vec::new();
    if executor.is_empty() {
        let rust = Executor::start()?;
        failures.extend(cases.iter().filter_map(|case| judge(case, rust.run(case.request.clone()))));
        return Ok(failures);
    }
    let mut process = Process::start(executor)?;
    for case in cases {
        let response = process.run(&case.request).map_err(|error| format!("{}: {error}", case.request.name))?;
        failures.extend(judge(case, response));
    }
    Ok(failures)
}
