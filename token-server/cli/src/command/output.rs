//! Standard output: lines, tables and JSON.

use std::{
    fmt, io,
    io::{IsTerminal as _, Write},
};

use serde::Serialize;

/// The destination of a command's results.
pub(crate) struct Output {
    out: Box<dyn Write>,
}

impl Output {
    /// The process's standard output.
    pub(crate) fn standard() -> Self {
        Self { out: Box::new(io::stdout()) }
    }

    /// Writes one line.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> io::Result<()> {
        writeln!(self.out, "{line}")
    }

    /// Writes a value as indented JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value)?;
        writeln!(self.out, "{text}")
    }

    /// Writes names and values, one pair per line.
    pub(crate) fn pairs<N: AsRef<str>, V: AsRef<str>>(&mut self, pairs: &[(N, V)]) -> io::Result<()> {
        let width = pairs.iter().map(|(name, _)| name.as_ref().chars().count()).max().unwrap_or(0);
        for (name, value) in pairs {
            writeln!(self.out, "{:width$}  {}", name.as_ref(), value.as_ref())?;
        }
        Ok(())
    }

    /// Writes columns under headings.
    pub(crate) fn table<const N: usize>(&mut self, headings: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
        let headings = headings.map(str::to_owned);
        let all = || std::iter::once(&headings).chain(rows);
        let mut widths = [0; N];
        for row in all() {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in all() {
            let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(self.out, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Writes a line that is not a result to standard error.
pub(crate) fn note(text: impl fmt::Display) {
    // If standard error is closed, the text cannot be reported.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The answer to a question on the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    No,
    /// There is no terminal to ask on.
    NotAsked,
}

/// Asks on the terminal. Any answer except y or yes means no.
pub(crate) fn confirm(question: &str) -> Answer {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Answer::NotAsked;
    }
    let _ = write!(io::stderr().lock(), "{question} [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") { Answer::Yes } else { Answer::No }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}
