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
    /// The columns of the terminal.
    columns: Option<usize>,
}

/// The least width to which a column is shortened.
const SHORT: usize = 12;

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
        let columns = terminal_size::terminal_size_of(&out).map(|(width, _)| usize::from(width.0));
        Self { out: Box::new(out), coloured, columns }
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
        self.table_to_fit(headings, rows, &[])
    }

    /// Does the same. On a terminal that is too narrow, the cells of the `flexible` columns are shortened.
    pub(crate) fn table_to_fit<const N: usize>(
        &mut self,
        headings: [&str; N],
        rows: &[[String; N]],
        flexible: &[usize],
    ) -> io::Result<()> {
        let headings = headings.map(str::to_owned);
        let all = || std::iter::once(&headings).chain(rows);
        let mut widths = [0; N];
        for row in all() {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        if let Some(columns) = self.columns {
            shorten(&mut widths, flexible, columns);
        }
        for row in all() {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{:width$}", shortened(cell, width)));
            writeln!(self.out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Narrows the widest of the flexible columns, until the row fits or none can be narrowed further.
fn shorten(widths: &mut [usize], flexible: &[usize], columns: usize) {
    let gaps = 2 * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > columns {
        let widest = flexible.iter().copied().max_by_key(|column| widths.get(*column));
        match widest.and_then(|column| widths.get_mut(column)) {
            Some(width) if *width > SHORT => *width -= 1,
            Some(_) | None => return,
        }
    }
}

/// Returns the cell, with an ellipsis in place of what exceeds the width.
fn shortened(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_owned();
    }
    cell.chars().take(width.saturating_sub(1)).chain(['\u{2026}']).collect()
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
    fn a_table_is_as_wide_as_the_terminal_and_keeps_its_ids() {
        let rows = [["i".repeat(30), "g".repeat(60), "n".repeat(20)], ["a".into(), "b".into(), String::new()]];
        for (columns, expected) in
            [(None, 114), (Some(200), 114), (Some(100), 100), (Some(70), 70), (Some(58), 58), (Some(20), 58)]
        {
            let (written, out) = written();
            let mut output = Output { out: Box::new(out), coloured: false, columns };
            output.table_to_fit(["ID", "GRANTS", "NAME"], &rows, &[1, 2]).unwrap();
            let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert_eq!(widest, Some(expected), "{columns:?}: {text}");
            assert!(text.contains(&"i".repeat(30)), "{text}");
            assert_eq!(text.contains('\u{2026}'), expected < 114, "{text}");
        }
    }

    type Written = std::sync::Arc<std::sync::Mutex<Vec<u8>>>;

    struct Shared(Written);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written() -> (Written, Shared) {
        let written = Written::default();
        (written.clone(), Shared(written))
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
