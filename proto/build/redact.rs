//! Generates a `Debug` that hides `sensitive` fields.
//!
//! prost derives a `Debug` that prints every field. For a message with a `sensitive` field, this module omits
//! the derive and appends a censoring `Debug` to the generated file.

use std::{collections::BTreeMap, fmt::Write as _, fs, io, path::Path};

use heck::{ToSnakeCase, ToUpperCamelCase};
use prost_reflect::{DescriptorPool, ExtensionDescriptor, FieldDescriptor, MessageDescriptor, OneofDescriptor};

/// The messages that must not derive `Debug`, and the implementations that replace it.
#[derive(Default)]
pub(super) struct Redacted {
    paths: Vec<String>,
    /// The Rust source to append to the file of each package.
    implementations: BTreeMap<String, String>,
}

impl Redacted {
    pub(super) fn find(encoded: &[u8]) -> Result<Self, prost_reflect::DescriptorError> {
        let pool = DescriptorPool::decode(encoded)?;
        let mut found = Self::default();
        let Some(sensitive) = pool.get_extension_by_name("m2m.auth.v1.sensitive") else { return Ok(found) };
        for file in pool.files() {
            for message in file.messages() {
                found.visit(&message, &sensitive, false);
            }
        }
        Ok(found)
    }

    pub(super) fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Adds a message and its nested messages. prost matches paths by prefix, so messages nested in a
    /// censored message need a `Debug` from here too.
    fn visit(&mut self, message: &MessageDescriptor, sensitive: &ExtensionDescriptor, inherited: bool) {
        if message.is_map_entry() {
            return;
        }
        let censored = inherited || message.fields().any(|field| is_sensitive(&field, sensitive));
        if censored {
            self.paths.push(format!(".{}", message.full_name()));
            let source = self.implementations.entry(message.package_name().to_owned()).or_default();
            source.push_str(&debug_of_message(message, sensitive));
            for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
                source.push_str(&debug_of_oneof(&oneof, sensitive));
            }
        }
        for nested in message.child_messages() {
            self.visit(&nested, sensitive, censored);
        }
    }

    pub(super) fn append_debug(&self, out: &Path) -> io::Result<()> {
        for (package, source) in &self.implementations {
            let name = if package.is_empty() { "_" } else { package };
            let path = out.join(format!("{name}.rs"));
            // The file is absent if the package is mapped to another crate.
            let Ok(mut text) = fs::read_to_string(&path) else { continue };
            text.push_str(source);
            fs::write(path, text)?;
        }
        Ok(())
    }
}

fn is_sensitive(field: &FieldDescriptor, sensitive: &ExtensionDescriptor) -> bool {
    field.options().get_extension(sensitive).as_bool() == Some(true)
}

fn debug_of_message(message: &MessageDescriptor, sensitive: &ExtensionDescriptor) -> String {
    let mut source = header(&type_path(message), message.name());
    for field in message.fields().filter(|field| field.containing_oneof().is_none_or(|oneof| oneof.is_synthetic())) {
        let shown = if is_sensitive(&field, sensitive) {
            "&::core::format_args!(\"[redacted]\")".to_owned()
        } else {
            format!("&self.{}", ident(field.name()))
        };
        let _ = writeln!(source, "            .field({:?}, {shown})", field.name());
    }
    for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
        let _ = writeln!(source, "            .field({:?}, &self.{})", oneof.name(), ident(oneof.name()));
    }
    source.push_str("            .finish()\n    }\n}\n");
    source
}

fn debug_of_oneof(oneof: &OneofDescriptor, sensitive: &ExtensionDescriptor) -> String {
    let parent = oneof.parent_message();
    let path = format!("{}{}", module_path(parent), oneof.name().to_upper_camel_case());
    let mut source = format!(
        "impl ::core::fmt::Debug for {path} {{\n    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{\n        match self {{\n"
    );
    for field in oneof.fields() {
        let variant = field.name().to_upper_camel_case();
        let (binding, shown) = if is_sensitive(&field, sensitive) {
            ("_", "&::core::format_args!(\"[redacted]\")")
        } else {
            ("value", "value")
        };
        let _ = writeln!(
            source,
            "            Self::{variant}({binding}) => f.debug_tuple({variant:?}).field({shown}).finish(),"
        );
    }
    source.push_str("        }\n    }\n}\n");
    source
}

fn header(path: &str, name: &str) -> String {
    format!(
        "impl ::core::fmt::Debug for {path} {{\n    fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{\n        f.debug_struct({name:?})\n"
    )
}

/// Returns `outer::Inner` for `Outer.Inner`, as prost names nested messages.
fn type_path(message: &MessageDescriptor) -> String {
    let prefix = message.parent_message().map(|parent| module_path(&parent)).unwrap_or_default();
    format!("{prefix}{}", message.name().to_upper_camel_case())
}

fn module_path(message: &MessageDescriptor) -> String {
    let prefix = message.parent_message().map(|parent| module_path(&parent)).unwrap_or_default();
    format!("{prefix}{}::", ident(message.name()))
}

/// Returns the Rust name of a field or module, escaped as prost does.
fn ident(name: &str) -> String {
    const KEYWORDS: &[&str] = &[
        "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn", "else", "enum",
        "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
        "move", "mut", "override", "priv", "pub", "ref", "return", "static", "struct", "trait", "true", "try", "type",
        "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
    ];
    let snake = name.to_snake_case();
    match snake.as_str() {
        "self" | "super" | "crate" => format!("{snake}_"),
        keyword if KEYWORDS.contains(&keyword) => format!("r#{snake}"),
        _ => snake,
    }
}
