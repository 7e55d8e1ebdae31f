//! The page that maps each specification to its tests keeps its word, both ways.

use std::{collections::BTreeSet, fs, path::Path};

const PAGE: &str = include_str!("../../docs/rfc-coverage.md");

/// `module::test` of every test beside this file.
fn tests() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/issue");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let mut tests = BTreeSet::new();
    for file in files {
        let module = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&file).unwrap();
        let names = text.lines().filter_map(|line| line.trim_start_matches("async ").strip_prefix("fn "));
        tests.extend(names.filter_map(|line| line.split_once('(')).map(|(name, _)| format!("{module}::{name}")));
    }
    tests
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
