//! Holds the order of the modules, and the walls between the packages.
//!
//! Each crate declares its modules in the order in which a request passes them. A module uses only the
//! modules above it. So a reader can read them in that order, and no circle can form.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The files that declare ordered modules, each with the path of these modules in the crate.
const ORDERED: [(&str, &str); 6] = [
    ("token-interceptor/src/lib.rs", "crate"),
    ("token-server/issuer/src/lib.rs", "crate"),
    ("token-server/store/src/lib.rs", "crate"),
    ("token-server/src/lib.rs", "crate"),
    ("token-server/src/server.rs", "crate::server"),
    ("token-server/src/server/middleware.rs", "crate::server::middleware"),
];

/// Dependencies that the issuer's decisions must not have: protocols, sockets, SQL and the command line.
const NOT_FOR_THE_ISSUER: [&str; 12] = [
    "axum",
    "axum-core",
    "clap",
    "clap_complete",
    "hyper",
    "hyper-util",
    "libsqlite3-sys",
    "mimalloc",
    "sqlx",
    "tonic",
    "token-server",
    "token-store",
];

/// Each package with the packages of this workspace that it may use.
const ARROWS: [(&str, &[&str]); 4] = [
    ("token-server/issuer", &["token-interceptor", "token-proto"]),
    ("token-server/store", &["token-issuer", "token-interceptor", "token-proto"]),
    ("token-server", &["token-store", "token-issuer", "token-interceptor", "token-proto"]),
    ("token-server/cli", &["token-server", "token-store", "token-issuer", "token-interceptor", "token-proto"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the source without its unit tests, which stand at the end and may use everything.
fn without_tests(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod ").next().unwrap_or_default()
}

/// Returns the modules that the file declares, in order.
fn declared(file: &Path) -> Vec<String> {
    let source = fs::read_to_string(file).unwrap();
    let lines = without_tests(&source).lines();
    let names = lines.filter_map(|line| line.rsplit_once("mod ")?.1.strip_suffix(';'));
    names.filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')).map(str::to_owned).collect()
}

/// Returns the sources of a module with the modules below it, without tests.
fn sources(folder: &Path, module: &str) -> Vec<(PathBuf, String)> {
    let mut files = vec![folder.join(format!("{module}.rs"))];
    let mut folders = vec![folder.join(module)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    let is_test =
        |path: &PathBuf| ["tests.rs", "faulty.rs", "machine_tests.rs"].iter().any(|name| path.ends_with(name));
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|rs| rs == "rs") && !is_test(path));
    files.map(|path| (path.clone(), without_tests(&fs::read_to_string(path).unwrap()).to_owned())).collect()
}

/// Returns the names that follow `prefix::` in the code, also in braces: `crate::{a::B, c}` uses `a` and `c`.
fn used(source: &str, prefix: &str) -> BTreeSet<String> {
    let code: String =
        source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(&format!("{prefix}::")) {
        let rest = &code[at + prefix.len() + 2..];
        match rest.strip_prefix('{') {
            Some(list) => names.extend(first_names(list)),
            None => names.extend(name(rest)),
        }
    }
    names
}

fn name(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// Returns the first name of each element of a list in braces.
fn first_names(list: &str) -> Vec<String> {
    let (mut depth, mut names, mut at_start) = (0, Vec::new(), true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            _ if at_start && !c.is_whitespace() => {
                names.extend(name(&list[at..]));
                at_start = false;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn modules_use_only_the_modules_above_them() {
    let mut wrong = Vec::new();
    for (file, path) in ORDERED {
        let file = root().join(file);
        let modules = declared(&file);
        assert!(modules.len() > 5, "{}: only {modules:?}", file.display());
        let folder = if file.ends_with("lib.rs") { file.parent().unwrap().to_owned() } else { file.with_extension("") };
        for (place, module) in modules.iter().enumerate() {
            for (source, code) in sources(&folder, module) {
                let mut names = used(&code, path);
                if source == folder.join(format!("{module}.rs")) {
                    names.extend(used(&code, "super"));
                }
                let below = modules.iter().skip(place + 1).filter(|below| names.contains(*below));
                wrong.extend(below.map(|below| format!("{}: uses {path}::{below}", source.display())));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "If you are here because this failed, a module uses one that is declared below it:\n\n{}\n\nMove the shared \
         part up into a module that both may use, or hand the value down as a parameter. If the whole module belongs \
         further up, move its `mod` line and its row in the table above it.",
        wrong.join("\n")
    );
}

/// The transport knows no layer, and no layer knows what is composed of it.
#[test]
fn server_parts_use_only_the_parts_below_them() {
    let folder = root().join("token-server/src/server");
    for (part, may) in [("transport", &["transport"][..]), ("middleware", &["transport", "middleware"])] {
        for (source, code) in sources(&folder, part) {
            for used in used(&code, "crate::server") {
                assert!(
                    may.contains(&used.as_str()),
                    "{} uses crate::server::{used}: {part} may use {may:?}. Hand the value down as a parameter.",
                    source.display()
                );
            }
        }
    }
}

/// Returns the names under `[dependencies]`.
fn dependencies(package: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
    let (_, rest) = manifest.split_once("\n[dependencies]\n").unwrap();
    let lines = rest.lines().take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| name(&line.replace('-', "_")).map(|name| line[..name.len()].to_owned())).collect()
}

#[test]
fn issuer_depends_on_no_protocol_socket_or_database() {
    let dependencies = dependencies("token-server/issuer");
    assert!(dependencies.len() > 10, "{dependencies:?}");
    for name in NOT_FOR_THE_ISSUER {
        assert!(
            !dependencies.iter().any(|dependency| dependency == name),
            "token-issuer depends on {name}. The issuer decides: it opens no socket and knows no protocol, no SQL and \
             no command line. Put the code that needs {name} into token-store, token-server or token-cli, and hand \
             its result down."
        );
    }
}

#[test]
fn packages_depend_only_on_the_packages_below_them() {
    for (package, may) in ARROWS {
        for dependency in dependencies(package).iter().filter(|dependency| dependency.starts_with("token-")) {
            assert!(may.contains(&dependency.as_str()), "{package} depends on {dependency}; it may use {may:?}");
        }
    }
}

#[test]
fn sql_is_in_the_store_alone() {
    for package in ["token-server/issuer", "token-server", "token-server/cli", "token-interceptor"] {
        let found = dependencies(package).into_iter().find(|dependency| dependency == "sqlx");
        assert_eq!(found, None, "{package} depends on sqlx: put the SQL into token-store");
    }
}
