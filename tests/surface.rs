//! The public surface of the two libraries, held by their source text.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const PROTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
const INTERCEPTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/token-interceptor/src");

/// The crates whose types stand in the interceptor's public signatures, each with the reason. A new major
/// version of one of them is a breaking change here.
const FOREIGN: [(&str, &str); 15] = [
    ("axum_core", "the extractor of `Caller`, and the bodies of a router"),
    ("bytes", "bodies"),
    ("grpc", "`CallCredentials` of that crate"),
    ("http", "requests, headers and URIs"),
    ("http_body", "bodies"),
    ("hyper_util", "`build_on` takes a connector"),
    ("jsonwebtoken", "JWKs, and signers in hardware: ADR 21"),
    ("rustls", "`tls_config` takes the program's settings"),
    ("secrecy", "secrets that are not printed"),
    ("serde", "claims in a type of the program's own"),
    ("serde_json", "claims"),
    ("token_proto", "the contract and the policy"),
    ("tonic", "channels, endpoints and statuses"),
    ("tower", "layers and services"),
    ("zeroize", "private keys"),
];

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

/// Returns the names that a file imports from other crates, each with its crate.
fn imports(text: &str) -> BTreeMap<String, String> {
    let mut imports = BTreeMap::new();
    for statement in text.split("\nuse ").skip(1) {
        let statement = statement.split(';').next().unwrap();
        let origin = statement.split("::").next().unwrap().trim();
        let words = statement.split(|c: char| !c.is_alphanumeric() && c != '_');
        let types = words.filter(|word| word.starts_with(char::is_uppercase));
        imports.extend(types.map(|word| (word.to_owned(), origin.to_owned())));
    }
    imports
}

/// Returns the names of the types that `text` makes public.
fn public_types(text: &str) -> Vec<String> {
    let declared =
        text.lines().filter_map(|line| ["pub struct ", "pub enum "].iter().find_map(|kind| line.strip_prefix(kind)));
    declared.filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next()).map(str::to_owned).collect()
}

/// Returns the signatures that other crates can see: functions, fields, and the traits that `public` types
/// implement.
fn signatures(text: &str, public: &BTreeSet<String>) -> Vec<String> {
    let mut signatures = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        let implementor = line.strip_prefix("impl").and_then(|line| line.split(" for ").nth(1));
        let implementor = implementor.and_then(|name| name.split(|c: char| !c.is_alphanumeric()).next());
        let has_private_field = line.starts_with("pub struct ") && line.contains('(') && !line.contains("(pub ");
        let is_public = line.starts_with("pub ") && !line.starts_with("pub use ") && !has_private_field;
        if is_public || implementor.is_some_and(|name| public.contains(name)) {
            let mut signature = line.to_owned();
            while !signature.contains(['{', ';']) && !signature.ends_with(',') || signature.ends_with("(") {
                let Some(next) = lines.next() else { break };
                signature.push_str(next.trim());
                signature.push(' ');
                if next.contains(['{', ';']) {
                    break;
                }
            }
            signatures.push(signature);
        }
    }
    signatures
}

#[test]
fn foreign_types_in_public_are_of_named_crates_alone() {
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/token-interceptor/Cargo.toml")).unwrap();
    let manifest = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let crates = manifest.lines().filter_map(|line| line.split([' ', '.', '=']).next());
    let crates: BTreeSet<String> = crates.map(|name| name.replace('-', "_")).collect();
    assert!(crates.contains("tonic") && !crates.contains("url"), "{crates:?}");
    let sources = sources(Path::new(INTERCEPTOR));
    let public: BTreeSet<String> = sources.iter().flat_map(|(_, text)| public_types(text)).collect();
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    for (path, text) in sources {
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned();
        let imports = imports(&text);
        for signature in &signatures(&text, &public) {
            let words: BTreeSet<&str> = signature.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let imported = words.iter().filter_map(|word| imports.get(*word).cloned());
            let named = crates.iter().filter(|name| signature.contains(&format!("{name}::"))).cloned();
            for origin in imported.chain(named).filter(|origin| crates.contains(origin)) {
                found.entry(origin).or_default().insert(format!("{}: {signature}", path.display()));
            }
        }
    }
    let known: BTreeSet<&str> = FOREIGN.iter().map(|(name, _)| *name).collect();
    for (origin, at) in &found {
        assert!(
            known.contains(&**origin),
            "types of the crate {origin} are public, so its next major version is a breaking change here. Use a type \
             of this crate, or name the reason in FOREIGN: {at:#?}"
        );
    }
    let unused: Vec<_> = known.iter().filter(|name| !found.contains_key(**name)).collect();
    assert!(unused.is_empty(), "no longer public, so remove them from FOREIGN: {unused:?}");
}
