//! Standard output: lines, tables and JSON.

use std::{
    ffi::OsString,
    fmt, io,
    io::{IsTerminal as _, Write},
};

use serde::Serialize;

/// The destination of a command's results.
pub(crate) struct Output {
    out: Box<dyn Write>,
    /// True on a terminal that shows colours.
    coloured: bool,
}

/// The kind of a line in a list of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    New,
    Changed,
    Removed,
    /// Tokens or credentials become invalid.
    Revoked,
}

impl Mark {
    /// The first character of the line. Without colours it says everything.
    pub(crate) const fn sign(self) -> char {
        match self {
            Self::New => '+',
            Self::Changed => '~',
            Self::Removed => '-',
            Self::Revoked => '!',
        }
    }

    /// The colour, as a parameter of ECMA-48's SGR: green, yellow, red, bold red.
    const fn colour(self) -> &'static str {
        match self {
            Self::New => "32",
            Self::Changed => "33",
            Self::Removed => "31",
            Self::Revoked => "1;31",
        }
    }

    /// Returns the line, with the sign in front.
    fn line(self, text: impl fmt::Display, coloured: bool) -> String {
        let (sign, colour) = (self.sign(), self.colour());
        if coloured { format!("\x1b[{colour}m{sign} {text}\x1b[0m") } else { format!("{sign} {text}") }
    }
}

impl Output {
    /// The process's standard output.
    pub(crate) fn standard() -> Self {
        let out = io::stdout();
        let coloured = out.is_terminal() && shows_colours(|name| std::env::var_os(name));
        Self { out: Box::new(out), coloured }
    }

    /// Writes a line of a list of changes, `depth` levels deep, in the colour of its kind.
    pub(crate) fn marked(&mut self, mark: Mark, depth: usize, text: impl fmt::Display) -> io::Result<()> {
        let line = mark.line(text, self.coloured);
        writeln!(self.out, "{:1$}{line}", "", depth * 4)
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

/// Returns true unless the environment asks for no colours (`NO_COLOR`, a dumb terminal).
fn shows_colours(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let is_set = |name| variable(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && variable("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Returns the text with its control characters escaped, as a terminal would obey them.
pub(crate) fn printable(text: &str) -> String {
    let escape = |character: char| {
        if character.is_control() { character.escape_default().to_string() } else { character.to_string() }
    };
    text.chars().map(escape).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reads_the_same_without_its_colour() {
        assert_eq!(Mark::New.line("orders", false), "+ orders");
        assert_eq!(Mark::New.line("orders", true), "\u{1b}[32m+ orders\u{1b}[0m");
        assert_eq!(Mark::Revoked.line("orders", true), "\u{1b}[1;31m! orders\u{1b}[0m");
    }

    #[test]
    fn control_characters_are_escaped_and_others_stay() {
        assert_eq!(printable("a\u{1b}[2Jb\n\u{9b}"), "a\\u{1b}[2Jb\\n\\u{9b}");
        assert_eq!(printable("caf\u{e9} \"x\" \\"), "caf\u{e9} \"x\" \\");
    }

    #[test]
    fn colours_are_off_where_the_environment_asks() {
        for (name, value, expected) in
            [("TERM", "xterm", true), ("TERM", "dumb", false), ("NO_COLOR", "1", false), ("NO_COLOR", "", true)]
        {
            let variable = |asked: &str| (asked == name).then(|| OsString::from(value));
            assert_eq!(shows_colours(variable), expected, "{name}={value}");
        }
    }
}
