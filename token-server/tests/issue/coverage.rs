//! The page that maps each specification to its tests is complete in both directions.

use std::{collections::BTreeSet, fs, path::Path};

const PAGE: &str = include_str!("../../docs/rfc-coverage.md");

/// `module::test` of every test beside this file, and `server/module::test` of those of the whole server. A
/// submodule's tests are `module::submodule::test`.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut tests = BTreeSet::new();
    add(&root.join("issue"), "", &mut tests);
    add(&root.join("server"), "server/", &mut tests);
    tests
}

/// Adds the tests of the modules in a folder.
fn add(folder: &Path, above: &str, tests: &mut BTreeSet<String>) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let module = format!("{above}{}", path.file_stem().unwrap().to_str().unwrap());
        if path.is_dir() {
            add(&path, &format!("{module}::"), tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let names = text.lines().filter_map(|line| line.trim_start_matches("async ").strip_prefix("fn "));
            tests.extend(names.filter_map(|line| line.split_once('(')).map(|(name, _)| format!("{module}::{name}")));
        }
    }
}

fn on_the_page() -> BTreeSet<String> {
    let rows = PAGE.lines().filter(|line| line.starts_with('|'));
    let quoted = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    quoted.filter(|text| text.contains("::")).map(str::to_owned).collect()
}

#[test]
fn every_test_on_this_page_exists() {
    let (page, tests) = (on_the_page(), tests());
    let missing: Vec<_> = page.difference(&tests).collect();
    assert!(page.len() > 30 && missing.is_empty(), "{missing:?}");
}

#[test]
fn every_test_that_is_named_after_a_section_is_on_the_page() {
    let tests = tests();
    let named = tests.iter().filter(|test| test.contains("::rfc_") || test.contains("::openid_"));
    let page = on_the_page();
    let missing: Vec<_> = named.filter(|test| !page.contains(*test)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The cells of each row under the headings about rules.
fn rules() -> Vec<Vec<&'static str>> {
    let rows =
        PAGE.lines().filter(|line| ["| RFC ", "| OpenID ", "| Fetch "].iter().any(|name| line.starts_with(name)));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// The text of a test module and its submodules.
fn source(module: &str) -> String {
    let (folder, module) = module.split_once('/').unwrap_or(("issue", module));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut text = fs::read_to_string(folder.join(format!("{module}.rs"))).unwrap();
    for below in fs::read_dir(folder.join(module)).into_iter().flatten() {
        text += &fs::read_to_string(below.unwrap().path()).unwrap();
    }
    text
}

#[test]
fn every_rule_on_this_page_has_a_test_and_both_faces_where_it_says_so() {
    for row in rules() {
        let [section, what, faces, tests] = row[..] else { panic!("not four cells: {row:?}") };
        let modules: Vec<_> =
            tests.split('`').filter_map(|name| name.split_once("::")).map(|(module, _)| module).collect();
        assert!(!modules.is_empty(), "{section} {what}: no test");
        assert!(["both", "HTTP", "gRPC", "HTTP, gRPC"].contains(&faces), "{section} {what}: {faces}");
        if faces != "HTTP" && faces != "gRPC" {
            let text: String = modules.into_iter().map(source).collect();
            let http = ["post(", "send(", "get(", "post_as_orders("].iter().any(|call| text.contains(call));
            assert!(
                http && (text.contains("grpc(") || text.contains("Client::new(")),
                "{section} {what}: one face alone"
            );
        }
    }
}

#[test]
fn every_test_of_another_language_on_this_page_exists() {
    let (_, table) = PAGE.split_once("## Third-party clients").unwrap();
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
    let mut clients = BTreeSet::new();
    for row in &rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [client, _, file, test] = cells[..] else { panic!("not four cells: {row}") };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/interop").join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(text.contains(test), "{file} has no {test}");
        clients.insert(client);
    }
    assert_eq!(clients.len(), 14, "{clients:?}");
}
