//! The public surface of the two libraries, held by their source text.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

const PROTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
const INTERCEPTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/token-interceptor/src");

/// Returns every Rust file below `folder`, with its text.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found
}

#[test]
fn public_enum_is_non_exhaustive_or_says_why() {
    let mut enums = 0;
    for (path, text) in sources(Path::new(PROTO)).into_iter().chain(sources(Path::new(INTERCEPTOR))) {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.trim().starts_with("pub enum ")) {
            enums += 1;
            let above = lines[..number].iter().rev().map(|line| line.trim());
            let above: Vec<&str> = above.take_while(|line| line.starts_with("///") || line.starts_with("#[")).collect();
            let decided = above.iter().any(|line| line.contains("#[non_exhaustive]") || line.contains("Exhaustive:"));
            assert!(
                decided,
                "{}:{}: {line}\nmark it #[non_exhaustive], or add a line \"Exhaustive: …\" with the reason to its doc",
                path.display(),
                number + 1
            );
        }
    }
    assert!(enums >= 10, "{enums} enums were found");
}
