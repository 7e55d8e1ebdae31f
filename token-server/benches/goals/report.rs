//! The measured figures beside their goals: one table, on the terminal and in docs/performance.md.

use std::{fmt::Write as _, fs, path::Path};

use token_interceptor::clock::{Clock as _, SystemClock};

/// One line of the table.
pub(crate) struct Row {
    what: String,
    goal: String,
    figure: String,
    verdict: Verdict,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Reached,
    Missed,
    /// A figure that is the floor of others.
    Floor,
    NotMeasured,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Missed => "**missed**",
            Self::Floor => "",
            Self::NotMeasured => "not measured",
        }
    }
}

impl Row {
    /// A figure without a goal.
    pub(crate) fn floor(what: impl Into<String>, figure: impl Into<String>) -> Self {
        Self { what: what.into(), goal: String::new(), figure: figure.into(), verdict: Verdict::Floor }
    }

    /// A figure with a goal.
    pub(crate) fn goal(
        what: impl Into<String>,
        goal: impl Into<String>,
        figure: impl Into<String>,
        reached: bool,
    ) -> Self {
        let verdict = if reached { Verdict::Reached } else { Verdict::Missed };
        Self { what: what.into(), goal: goal.into(), figure: figure.into(), verdict }
    }

    /// The measurements that could not run here, with the reason.
    pub(crate) fn not_measured(what: impl Into<String>, goal: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), goal: goal.into(), figure: why.into(), verdict: Verdict::NotMeasured }
    }
}

/// A Markdown table.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = String::from("| what | goal | figure | verdict |\n|---|---|---|---|\n");
    for Row { what, goal, figure, verdict } in rows {
        let _ = writeln!(table, "| {what} | {goal} | {figure} | {} |", verdict.word());
    }
    table
}

/// Puts the table, the date and the machine between the markers of the page.
pub(crate) fn write(page: &Path, rows: &[Row]) {
    const BEGIN: &str = "<!-- measured: begin -->\n";
    const END: &str = "<!-- measured: end -->\n";
    let text = fs::read_to_string(page).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let measured = format!("{}\n\n{}", machine(), table(rows));
    fs::write(page, format!("{before}{BEGIN}{measured}{END}{after}")).unwrap();
}

/// The date and the machine.
fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of = |name: &str| {
        let line = cpus.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split(':').nth(1).unwrap_or("unknown").trim().to_owned()
    };
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0);
    let virtual_machine = if cpus.contains("hypervisor") { ", a virtual machine" } else { "" };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?");
    let time = humantime::format_rfc3339_seconds(SystemClock.now());
    format!(
        "Measured {time} on {cores} cores of {} (family {}, model {}){virtual_machine}, {} GiB, Linux; load average {load}.",
        of("model name"),
        of("cpu family"),
        of("model\t"),
        kib / 1024 / 1024,
    )
}
