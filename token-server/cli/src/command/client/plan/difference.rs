//! The difference between two declarations of a client, for people.

use std::collections::BTreeMap;

use serde_json::Value;
use token_server::client_file::Declared;

use crate::command::output::Mark;

/// The values of one setting.
#[derive(Debug, PartialEq, Eq)]
enum Setting {
    /// It has one value.
    One(String),
    /// It is a list, whose members come and go one by one.
    Members(Vec<String>),
}

/// Returns a line for each setting, or member of a list, that differs. Settings have the names of the file.
/// Defaults are absent on both sides.
pub(super) fn lines(before: &Declared, after: &Declared) -> Vec<(Mark, String)> {
    let (mut before, after) = (settings(before), settings(after));
    let mut lines = Vec::new();
    for (name, after) in after {
        compare(&name, before.remove(&name), after, &mut lines);
    }
    for (name, before) in before {
        for value in values(before) {
            lines.push((Mark::Removed, format!("{name}: {value}")));
        }
    }
    lines
}

fn compare(name: &str, before: Option<Setting>, after: Setting, lines: &mut Vec<(Mark, String)>) {
    match (before, after) {
        (Some(Setting::One(before)), Setting::One(after)) => {
            if before != after {
                lines.push((Mark::Changed, format!("{name}: {before} -> {after}")));
            }
        }
        (before, after) => {
            let (before, after) = (before.map(values).unwrap_or_default(), values(after));
            for value in after.iter().filter(|value| !before.contains(value)) {
                lines.push((Mark::New, format!("{name}: {value}")));
            }
            for value in before.iter().filter(|value| !after.contains(value)) {
                lines.push((Mark::Removed, format!("{name}: {value}")));
            }
        }
    }
}

fn values(setting: Setting) -> Vec<String> {
    match setting {
        Setting::One(value) => vec![value],
        Setting::Members(values) => values,
    }
}

fn settings(declared: &Declared) -> BTreeMap<String, Setting> {
    let mut found = BTreeMap::new();
    // A declaration has only strings as keys, so it is always JSON.
    if let Ok(Value::Object(members)) = serde_json::to_value(declared) {
        for (name, value) in members.into_iter().filter(|(name, _)| name != "id") {
            flatten(&name, value, &mut found);
        }
    }
    found
}

fn flatten(name: &str, value: Value, found: &mut BTreeMap<String, Setting>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                flatten(&format!("{name}.{}", shown(&member)), value, found);
            }
        }
        Value::Array(values) => {
            let (tables, members): (Vec<_>, Vec<_>) = values.into_iter().partition(Value::is_object);
            for mut table in tables {
                // A grant is known by its audience.
                let key = table.as_object_mut().and_then(|table| table.remove("audience"));
                let name = key.map_or_else(|| name.to_owned(), |key| format!("{name} {}", text(key)));
                flatten(&name, table, found);
            }
            if !members.is_empty() {
                found.insert(name.to_owned(), Setting::Members(members.into_iter().map(text).collect()));
            }
        }
        value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            found.insert(name.to_owned(), Setting::One(text(value)));
        }
    }
}

fn text(value: Value) -> String {
    if let Value::String(text) = value { shown(&text) } else { value.to_string() }
}

/// Quotes and escapes text that could control a terminal or hide in a line.
fn shown(text: &str) -> String {
    let plain = |character: char| character.is_ascii_graphic() && !matches!(character, '"' | '\\');
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("{text:?}") }
}

#[cfg(test)]
mod tests {
    use token_server::client_file::File;

    use super::*;

    fn declared(text: &str) -> Declared {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clients.toml");
        std::fs::write(&path, format!("[[client]]\nid = \"orders\"\n{text}")).unwrap();
        File::read(&path).unwrap().clients.remove(0)
    }

    fn difference(before: &str, after: &str) -> Vec<String> {
        let lines = lines(&declared(before), &declared(after));
        lines.into_iter().map(|(mark, text)| format!("{} {text}", mark.sign())).collect()
    }

    fn grant(audience: &str, scopes: &str) -> String {
        format!("[[client.grant]]\naudience = \"{audience}\"\nscopes = [{scopes}]\n")
    }

    #[test]
    fn scopes_differ_one_by_one_within_their_audience() {
        let before = grant("inventory", "\"read\", \"write\"") + &grant("audit", "\"read\"");
        let after = grant("inventory", "\"delete\", \"read\"") + &grant("billing", "\"read\"");
        let expected = [
            "+ grant billing.scopes: read",
            "+ grant inventory.scopes: delete",
            "- grant inventory.scopes: write",
            "- grant audit.scopes: read",
        ];
        assert_eq!(difference(&before, &after), expected);
    }

    #[test]
    fn a_value_is_shown_with_the_one_that_it_replaces() {
        let before = "name = \"Orders\"\ntoken_lifetime = \"5m\"\nlabels = { team = \"pay\" }\n";
        let after = "name = \"Our orders\"\ntoken_lifetime = \"10m\"\ndisabled = true\n";
        let expected = [
            "+ disabled: true",
            "~ name: Orders -> \"Our orders\"",
            "~ token_lifetime: 5m -> 10m",
            "- labels.team: pay",
        ];
        assert_eq!(difference(before, after), expected);
        assert_eq!(difference(after, after), [""; 0]);
    }

    #[test]
    fn a_name_cannot_control_the_terminal() {
        assert_eq!(difference("", "name = \"\\u001b[2J\\u009b\""), ["+ name: \"\\u{1b}[2J\\u{9b}\""]);
    }
}
