//! Holds the order of the modules, and the walls between the packages.
//!
//! Each crate declares its modules in the order in which a request passes them. A module uses only the
//! modules above it. So a reader can read them in that order, and no circle can form.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
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

/// The modules of the interceptor that decide on a request: tokens, policies and their errors.
const DECISION: [&str; 11] = [
    "signature",
    "error",
    "token",
    "encryption",
    "policy",
    "bearer",
    "revocation",
    "key_set",
    "verify",
    "ongoing",
    "json",
];

/// The files below these modules that reach an issuer over gRPC.
const REACHES_AN_ISSUER: [&str; 6] = [
    "key_set/fetch.rs",
    "key_set/fetch/grpc.rs",
    "key_set/pushed.rs",
    "key_set/pushed/stream.rs",
    "verify/issuer_channel.rs",
    "verify/trusted_issuer.rs",
];

/// The crates that a server that only verifies may add to tonic with TLS.
const ADDED_CRATES_MAX: usize = 25;

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

/// The interceptors of another gRPC library call the same decision: it knows neither tonic's types nor
/// tower's.
#[test]
fn decision_uses_no_type_of_tonic_or_tower() {
    let folder = root().join("token-interceptor/src");
    let mut seen = 0;
    for (source, code) in DECISION.iter().flat_map(|module| sources(&folder, module)) {
        let path = source.strip_prefix(&folder).unwrap();
        if REACHES_AN_ISSUER.iter().any(|file| path == Path::new(file)) {
            continue;
        }
        seen += 1;
        for library in ["tonic", "tonic_types", "tower", "axum_core"] {
            let line =
                code.lines().find(|line| !line.trim().starts_with("//") && line.contains(&format!("{library}::")));
            assert_eq!(line, None, "{}: the decision must not depend on {library}", path.display());
        }
    }
    assert!(seen > 25, "only {seen} files were found");
}

/// Returns the crates of a package with these lines under `[dependencies]`, at the versions of this
/// workspace's lock file.
fn crates(dependencies: &str) -> BTreeSet<String> {
    let folder = tempfile::tempdir().unwrap();
    let manifest = "[package]\nname = \"application\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n";
    fs::write(folder.path().join("Cargo.toml"), format!("{manifest}{dependencies}")).unwrap();
    fs::copy(root().join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("src/lib.rs"), "").unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    let output = cargo.current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names = tree.lines().filter_map(|line| line.split(" (").next());
    names.filter(|name| !name.is_empty() && !name.starts_with("application ")).map(str::to_owned).collect()
}

#[test]
fn verifying_server_adds_few_crates_to_tonic_with_tls() {
    let tonic = "tonic = { version = \"0.14\", features = [\"tls-ring\"] }\ntonic-prost = \"0.14\"\nprost = \"0.14\"\n";
    let ours = root().join("token-interceptor");
    let ours = format!(
        "token-interceptor = {{ path = {ours:?}, default-features = false, features = [\"server\", \"http\", \"ring\"] }}\n"
    );
    let (before, after) = (crates(tonic), crates(&format!("{tonic}{ours}")));
    let added: Vec<&String> = after.difference(&before).collect();
    assert!(before.len() > 50 && added.len() > 5, "{before:?} {added:?}");
    assert!(
        added.len() <= ADDED_CRATES_MAX,
        "A server that only verifies now adds {} crates: {added:#?}\nPut the dependency that brings them behind a \
         feature, or turn off its features.",
        added.len()
    );
    let told = format!("adds {} crates to tonic with TLS", added.len());
    for page in ["token-interceptor/README.md", "token-interceptor/src/lib.rs"] {
        let text = fs::read_to_string(root().join(page)).unwrap().replace("\n//! ", " ").replace('\n', " ");
        assert!(text.contains(&told), "{page} does not say: {told}");
    }
}
