//! Files of `NAME=value` lines that a shell can source. `dev` leaves its clients' credentials in them.

use std::{collections::BTreeMap, io, path::Path};

use token_store::private_file;

/// Reads a file.
pub(super) fn read(path: &Path) -> io::Result<BTreeMap<String, String>> {
    Ok(parse(&std::fs::read_to_string(path)?))
}

/// Returns the assignments in a text. Other lines are ignored.
pub fn parse(text: &str) -> BTreeMap<String, String> {
    let assignment = |line: &str| {
        let (name, value) = line.trim().trim_start_matches("export ").split_once('=')?;
        Some((name.to_owned(), value.trim_matches('\'').to_owned()))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(assignment).collect()
}

/// Writes a file that only the owner may read. Values are quoted for the shell.
pub(super) fn write(path: &Path, title: &str, values: &[(&str, &str)]) -> io::Result<()> {
    let mut text = format!("# {title}\n");
    for (name, value) in values {
        // No value contains a quote. A quote would end the quotation early.
        text.push_str(&format!("export {name}='{}'\n", value.replace('\'', "")));
    }
    private_file::write(path, text.as_bytes())
}
