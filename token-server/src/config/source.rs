//! TOML text and environment variables → one tree of values with their positions.
//!
//! A variable `TOKEN_SERVER__TOKENS__DEFAULT_LIFETIME` overrides `default_lifetime` in the section
//! `[tokens]`.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use toml::de::{DeTable, DeValue};

use super::mistake::{Mistake, Place};

/// The prefix of every variable.
pub(super) const PREFIX: &str = "TOKEN_SERVER__";

/// A value and its position.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A value as written.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(Vec<Node>),
    Table(Table),
    /// From the environment: text. The setting determines its type.
    Variable(String),
    /// A type that no setting accepts, by its name in TOML.
    Other(&'static str),
}

/// Settings by name, each with the position of the name.
pub(super) type Table = BTreeMap<String, Node>;

/// Parses the file's text. A syntax error is recorded as a mistake, and the rest is still read.
pub(super) fn parse(file: &Path, text: &str, mistakes: &mut Vec<Mistake>) -> Table {
    let places = Places { file: Arc::from(file), text };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        mistakes.push(Mistake {
            place: places.at(error.span().map_or(0, |span| span.start)),
            setting: "syntax".to_owned(),
            problem: error.message().to_owned(),
            allowed: "TOML 1.0, see https://toml.io".to_owned(),
        });
    }
    places.table(document.get_ref())
}

/// Overrides settings with the variables. Names are in upper case, and sections end in `__`.
pub(super) fn overlay(root: &mut Table, variables: impl IntoIterator<Item = (String, String)>) {
    for (name, text) in variables {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let mut path = path.split("__").map(str::to_ascii_lowercase).peekable();
        let mut table = &mut *root;
        while let Some(step) = path.next() {
            let place = Place::Variable(name.clone());
            if path.peek().is_none() {
                table.insert(step, Node { place, value: Value::Variable(text.clone()) });
                break;
            }
            let node = table.entry(step).or_insert_with(|| Node { place, value: Value::Table(Table::new()) });
            let Value::Table(inner) = &mut node.value else { break };
            table = inner;
        }
    }
}

struct Places<'t> {
    file: Arc<Path>,
    text: &'t str,
}

impl Places<'_> {
    fn at(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).map_or(0, |line| line.chars().count()) + 1;
        Place::File { file: Arc::clone(&self.file), line: before.matches('\n').count() + 1, column }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let mut entries = Table::new();
        for (key, value) in table {
            let node = Node { place: self.at(key.span().start), value: self.value(value.get_ref()) };
            entries.insert(key.get_ref().to_string(), node);
        }
        entries
    }

    fn value(&self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Other("integer beyond 64 bits"),
            },
            DeValue::Boolean(flag) => Value::Boolean(*flag),
            DeValue::Array(items) => Value::List(
                items
                    .iter()
                    .map(|item| Node { place: self.at(item.span().start), value: self.value(item.get_ref()) })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table)),
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Value::Float(number),
                Err(_) => Value::Other("float"),
            },
            DeValue::Datetime(_) => Value::Other("datetime"),
        }
    }
}
