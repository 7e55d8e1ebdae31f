//! The language rules of CONTRIBUTING.md that can be counted, over every file of the repository.
//!
//! If a test here fails, do not raise a limit. Rewrite the sentence as the message says.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Words that open a doc comment with a question in place of a name (RFC 1574).
const INTERROGATIVES: [&str; 11] =
    ["What", "Who", "Whose", "Whom", "Which", "Whether", "Where", "Wherever", "How", "Why", "That"];

/// Pronouns that name no actor. They may stand in this file alone.
const NO_ACTOR: [&str; 7] = ["nobody", "anybody", "somebody", "whoever", "whatever", "whichever", "whomever"];
const NO_ACTOR_ALLOWED_IN: &str = "tests/prose.rs";

/// The share of doc lines that may open with an interrogative, in thousandths. The models have 2 to 13.
const INTERROGATIVE_SHARE_MAX: usize = 15;

/// Columns of a line of comment, indentation included.
const COMMENT_COLUMNS_MAX: usize = 110;

/// One line that breaks a rule.
struct Breach {
    place: String,
    line: String,
}

impl Breach {
    fn list(breaches: &[Self], advice: &str) -> String {
        let shown = breaches.iter().take(40).map(|breach| format!("  {}: {}", breach.place, breach.line));
        format!("{} lines. {advice}\n{}", breaches.len(), shown.collect::<Vec<_>>().join("\n"))
    }
}

/// Every file below the root with one of `endings`, as its path from the root and its text.
fn sources(endings: &[&str]) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut found) = (vec![root.to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // Build output, installed packages and generated stubs are other people's prose.
            let skipped = ["target", "node_modules", "gen", "stubs", "__pycache__", "dist", "build-output"];
            if path.is_dir() {
                if !name.starts_with('.') && !skipped.contains(&&*name) {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let Ok(text) = fs::read_to_string(&path) else { continue };
                found.push((path.strip_prefix(root).unwrap().to_string_lossy().into_owned(), text));
            }
        }
    }
    found.sort();
    assert!(found.len() > 10, "the walk found too few files: {}", found.len());
    found
}

fn doc_text(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(str::trim)
}

/// The parts of a line of Rust that a person reads: comment, name of a function, string literals.
fn prose_of(line: &str) -> String {
    if line.trim_start().starts_with("//") {
        return line.to_owned();
    }
    let name = line.split_once("fn ").and_then(|(_, rest)| rest.split('(').next());
    name.into_iter().chain(line.split('"').skip(1).step_by(2)).collect::<Vec<_>>().join(" ")
}

fn names_no_actor(prose: &str) -> bool {
    // The name of a test is read as words too.
    prose.split(|c: char| !c.is_alphanumeric()).any(|word| NO_ACTOR.contains(&&*word.to_lowercase()))
}

#[test]
fn doc_comments_open_with_a_name_or_a_verb() {
    let (mut doc_lines, mut breaches) = (0, Vec::new());
    for (file, text) in sources(&[".rs"]) {
        let mut inside = false;
        for (number, line) in text.lines().enumerate() {
            let doc = doc_text(line);
            if let Some(doc) = doc {
                doc_lines += 1;
                let first = doc.split(' ').next().unwrap_or_default();
                if !inside && INTERROGATIVES.contains(&first) {
                    breaches.push(Breach { place: format!("{file}:{}", number + 1), line: doc.to_owned() });
                }
            }
            inside = doc.is_some();
        }
    }
    assert!(
        breaches.len() * 1000 <= doc_lines * INTERROGATIVE_SHARE_MAX,
        "of {doc_lines} doc lines, {}",
        Breach::list(
            &breaches,
            "Open with a noun phrase that names the thing (\"The set of …\"), or with a third-person verb (\"Returns …\")."
        )
    );
}

#[test]
fn prose_names_its_actors() {
    let mut breaches = Vec::new();
    for (file, text) in sources(&[".rs", ".md", ".proto", ".toml", ".yaml"]) {
        if file == NO_ACTOR_ALLOWED_IN {
            continue;
        }
        let rust = file.ends_with(".rs");
        for (number, line) in text.lines().enumerate() {
            let prose = if rust { prose_of(line) } else { line.to_owned() };
            if names_no_actor(&prose) {
                breaches.push(Breach { place: format!("{file}:{}", number + 1), line: line.trim().to_owned() });
            }
        }
    }
    assert!(
        breaches.is_empty(),
        "{}",
        Breach::list(
            &breaches,
            "Name the actor: the server, the client, the caller, the verifier, the peer, the operator."
        )
    );
}

#[test]
fn comment_lines_keep_to_their_width() {
    let mut breaches = Vec::new();
    for (file, text) in sources(&[".rs", ".proto"]) {
        for (number, line) in text.lines().enumerate() {
            let comment = line.trim_start().starts_with("//");
            // A link or a command that must be copied whole may be longer.
            if comment && line.chars().count() > COMMENT_COLUMNS_MAX && !line.contains("://") {
                breaches.push(Breach { place: format!("{file}:{}", number + 1), line: line.trim().to_owned() });
            }
        }
    }
    assert!(breaches.is_empty(), "{}", Breach::list(&breaches, "Wrap the comment at 110 columns."));
}

#[test]
fn the_rules_find_what_they_are_for() {
    assert_eq!(doc_text("    /// Whether it is valid."), Some("Whether it is valid."));
    assert_eq!(doc_text("    // Whether it is valid."), None);
    assert!(names_no_actor("it is Nobody's turn") && names_no_actor("// whatever"));
    assert!(!names_no_actor("what ever") && !names_no_actor(&prose_of("let nobody = 1;")));
    assert!(names_no_actor(&prose_of(r#"warn!("anybody there");"#)));
    assert!(names_no_actor("`registration::nobody_registers`") && names_no_actor(&prose_of("fn nobody_registers() {")));
}
