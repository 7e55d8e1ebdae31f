//! Checks that the README's code compiles: each Rust block is a marked part of an example program.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{collections::BTreeMap, fs, path::Path};

/// Returns the lines between `// README: name` and `// README: end` by name, without the marker's
/// indentation.
fn marked_parts() -> BTreeMap<String, String> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("token-interceptor/examples");
    let mut parts = BTreeMap::new();
    for file in ["quickstart_server.rs", "quickstart_client.rs", "quickstart/pb.rs"] {
        let source = fs::read_to_string(examples.join(file)).unwrap();
        let mut lines = source.lines();
        while let Some(line) = lines.next() {
            let Some((indentation, name)) = line.split_once("// README: ") else { continue };
            let part = lines.by_ref().take_while(|line| !line.trim_start().starts_with("// README: end"));
            let part: Vec<&str> = part.map(|line| line.strip_prefix(indentation).unwrap_or(line)).collect();
            parts.insert(name.to_owned(), part.join("\n"));
        }
    }
    parts
}

fn rust_blocks(readme: &str) -> Vec<String> {
    let blocks = readme.split("```rust\n").skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn rust_in_the_readme_is_part_of_an_example() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let parts = marked_parts();
    let blocks = rust_blocks(&readme);
    assert!(!blocks.is_empty());
    for block in &blocks {
        // The call in a build script is compiled in the helper's own documentation.
        let known = block.contains("token_proto::build::compile") || parts.values().any(|part| part == block);
        assert!(known, "not in an example:\n{block}");
    }
    for (name, part) in &parts {
        assert!(blocks.contains(part), "the README does not show {name} as it is");
    }
}
