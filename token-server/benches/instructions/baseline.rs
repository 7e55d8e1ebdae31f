//! The accepted instruction counts of each path.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf, process::ExitCode};

/// The tolerance. Above it a path has become more costly, below it cheaper. Random keys cause differences
/// within it.
const TOLERANCE: f64 = 0.02;

pub(crate) struct Baseline {
    /// The compiler that the baseline was counted with.
    compiler: String,
    counts: BTreeMap<String, u64>,
}

impl Baseline {
    pub(crate) fn read() -> Self {
        let text = fs::read_to_string(file()).expect("the baseline is there");
        let compiler = text.lines().find_map(|line| line.strip_prefix("# with "));
        let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        Self {
            compiler: compiler.unwrap_or_default().to_owned(),
            counts: lines.map(|(path, count)| (path.trim().to_owned(), count.parse().unwrap())).collect(),
        }
    }

    pub(crate) fn write(counted: &[(&str, u64)]) {
        let mut text = String::from("# Instructions of one, by callgrind. Written by `just instructions accept`.\n");
        let _ = writeln!(text, "# with {}", compiler());
        for (path, count) in counted {
            let _ = writeln!(text, "{path:<20} {count}");
            println!("{path:<20} {count:>9}");
        }
        fs::write(file(), text).unwrap();
    }

    /// Fails if a path has become more costly.
    pub(crate) fn compare(&self, counted: &[(&str, u64)]) -> ExitCode {
        let mut dearer = Vec::new();
        println!("{:<20} {:>12} {:>12} {:>8}", "instructions", "baseline", "now", "");
        for (path, count) in counted {
            let before = self.counts.get(*path).copied().unwrap_or(1);
            let change = *count as f64 / before as f64 - 1.0;
            let verdict = match change {
                change if change > TOLERANCE => "dearer",
                change if change < -TOLERANCE => "cheaper: `just instructions accept` keeps it so",
                _ => "",
            };
            println!("{path:<20} {before:>12} {count:>12} {:>+7.1} %  {verdict}", change * 100.0);
            if change > TOLERANCE {
                dearer.push(*path);
            }
        }
        if self.compiler != compiler() {
            println!("the baseline was counted with {}, this with {}", self.compiler, compiler());
        }
        if dearer.is_empty() {
            return ExitCode::SUCCESS;
        }
        println!(
            "\nmore than {:.0} % above the baseline: {}.\nWhere that is worth it, `just instructions accept` writes \
             the new counts to token-server/benches/instructions/baseline.txt: commit it and say why.",
            TOLERANCE * 100.0,
            dearer.join(", ")
        );
        ExitCode::FAILURE
    }
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../benches/instructions/baseline.txt")
}

fn compiler() -> String {
    let output = std::process::Command::new("rustc").arg("--version").output();
    output.map_or_else(|_| "an unknown compiler".to_owned(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}
