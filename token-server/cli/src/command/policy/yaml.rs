//! A small YAML 1.2 writer. Maps keep their order, and every text is in double quotes as in JSON.

use serde_json::Value;

/// A YAML value.
pub(super) enum Yaml {
    Text(String),
    /// A number or a boolean.
    Plain(String),
    List(Vec<Yaml>),
    Map(Vec<(&'static str, Yaml)>),
    /// A map whose keys are data.
    Named(Vec<(String, Yaml)>),
}

impl Yaml {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn plain(value: impl ToString) -> Self {
        Self::Plain(value.to_string())
    }

    pub(super) fn texts(items: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::List(items.into_iter().map(Self::text).collect())
    }

    /// Returns a document. Its first line is not indented.
    pub(super) fn document(&self) -> String {
        let mut text = String::new();
        self.write(0, &mut text);
        text.trim_start_matches('\n').to_owned() + "\n"
    }

    fn write(&self, depth: usize, out: &mut String) {
        match self {
            // A JSON string is a YAML string.
            Self::Text(text) => *out += &format!(" {}", Value::from(&**text)),
            Self::Plain(value) => *out += &format!(" {value}"),
            Self::List(items) if items.is_empty() => *out += " []",
            Self::List(items) => {
                for item in items {
                    line(depth, "-", out);
                    item.write_in_item(depth, out);
                }
            }
            Self::Map(entries) => entries.iter().for_each(|(key, value)| entry(&quoted(key), value, depth, out)),
            Self::Named(entries) => {
                entries.iter().for_each(|(key, value)| entry(&Value::from(&**key).to_string(), value, depth, out));
            }
        }
    }

    /// Writes a value in a list, starting on the line of its dash.
    fn write_in_item(&self, depth: usize, out: &mut String) {
        let mut item = String::new();
        self.write(depth + 1, &mut item);
        let indented = format!("\n{}", "  ".repeat(depth + 1));
        match item.strip_prefix(&indented) {
            Some(first) => *out += &format!(" {first}"),
            None => *out += &item,
        }
    }
}

fn entry(key: &str, value: &Yaml, depth: usize, out: &mut String) {
    line(depth, &format!("{key}:"), out);
    value.write(depth + 1, out);
}

fn line(depth: usize, text: &str, out: &mut String) {
    *out += &format!("\n{}{text}", "  ".repeat(depth));
}

/// Quotes a key if needed: `@` may not begin a plain key.
fn quoted(key: &str) -> String {
    if key.starts_with('@') { format!("\"{key}\"") } else { key.to_owned() }
}
