//! The report: the clients that were carried over, and everything that was not, with the reasons.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::json;
use token_server::client_file::Declared;

use crate::command::{
    failure::Failure,
    output::{Output, printable},
};

/// Everything that was not carried over: for each reason its subjects, and their items.
#[derive(Debug, Default)]
pub(super) struct Report {
    left: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    /// The steps that the operator must take.
    steps: BTreeSet<String>,
}

impl Report {
    /// Adds an item of a client, or of another subject, that is not carried over.
    pub(super) fn leave(&mut self, subject: &str, item: &str, reason: impl Into<String>) {
        let subjects = self.left.entry(reason.into()).or_default();
        subjects.entry(printable(subject)).or_default().insert(printable(item));
    }

    /// Adds several items.
    pub(super) fn leave_all(&mut self, subject: &str, items: &[String], reason: &str) {
        for item in items {
            self.leave(subject, item, reason);
        }
    }

    /// Adds a step for the operator.
    pub(super) fn step(&mut self, text: impl Into<String>) {
        self.steps.insert(printable(&text.into()));
    }

    pub(super) fn print(
        self,
        clients: &[Declared],
        out: &Path,
        json: bool,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let rows: Vec<_> = clients.iter().map(row).collect();
        if json {
            let carried: Vec<_> = rows
                .iter()
                .map(|[id, credentials, grants]| json!({"client_id": id, "credentials": credentials, "grants": grants}))
                .collect();
            return Ok(output.json(&json!({
                "file": out.display().to_string(),
                "carried_over": carried,
                "not_carried_over": self.left,
                "steps": self.steps,
            }))?);
        }
        output.line(format_args!("{} clients are in {}:\n", rows.len(), out.display()))?;
        output.table(["CLIENT", "CREDENTIALS", "GRANTS"], &rows)?;
        if !self.left.is_empty() {
            output.line("\nNot carried over, and why:")?;
        }
        for (reason, subjects) in &self.left {
            output.line(format_args!("\n  {reason}"))?;
            for (subject, items) in subjects {
                let items: Vec<_> = items.iter().map(String::as_str).collect();
                output.line(format_args!("    {subject}: {}", items.join(", ")))?;
            }
        }
        if !self.steps.is_empty() {
            output.line("\nNext:")?;
        }
        for step in &self.steps {
            output.line(format_args!("  {step}"))?;
        }
        Ok(())
    }
}

/// One client: its ID, the kinds of its credentials, its grants.
fn row(client: &Declared) -> [String; 3] {
    let grants: Vec<_> =
        client.grants().map(|(audience, scopes)| format!("{audience}: {}", scopes.join(" "))).collect();
    [printable(&client.id), client.credential_kinds().join(", "), printable(&grants.join("; "))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_input_cannot_command_the_terminal() {
        let mut report = Report::default();
        report.leave("\u{1b}x", "\u{7}", "reason");
        assert!(!format!("{report:?}").contains('\u{1b}'));
    }
}
