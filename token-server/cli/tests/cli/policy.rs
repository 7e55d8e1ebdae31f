//! `token-server policy`: configuration for proxies, compared with the recorded files, and the demands that
//! proxies cannot express.

use std::{fs, path::Path};

use saphyr::{LoadableYamlNode as _, YamlOwned};

use crate::harness::{Ran, run};

const ISSUER: [&str; 2] = ["--issuer", "https://tokens.example.com"];
const STREAMS: &str = "--danger-streams-outlive-tokens";

/// A descriptor set of `proto`, as a build writes it.
fn descriptor_set(folder: &Path, proto: &str) -> String {
    fs::write(folder.join("a.proto"), proto).unwrap();
    let build = token_proto::build::configure().out_dir(folder);
    build.compile(&[folder.join("a.proto")], &[folder]).unwrap();
    folder.join("token_descriptors.bin").display().to_string()
}

fn inventory(folder: &Path) -> String {
    descriptor_set(folder, include_str!("../../../../token-interceptor/examples/proto/inventory.proto"))
}

/// A service with one unary method `M` that has this policy.
fn demanding(folder: &Path, requirement: &str) -> String {
    let proto = format!(
        r#"syntax = "proto3"; package a; import "m2m/auth/v1/annotations.proto"; message E {{}}
        service S {{ rpc M(E) returns (E) {{ option (m2m.auth.v1.method).require = {{{requirement}}}; }} }}"#
    );
    descriptor_set(folder, &proto)
}

fn policy(target: &str, descriptors: &str, more: &[&str]) -> Ran {
    let home = tempfile::tempdir().unwrap();
    let app: &[&str] = if target == "istio" { &["--app", "inventory"] } else { &[] };
    run(home.path(), &[&["policy", target, "--descriptor", descriptors], app, &ISSUER, more].concat())
}

/// Documents, each parsed by an independent parser.
fn parsed(text: &str) -> Vec<YamlOwned> {
    YamlOwned::load_from_str(text).unwrap()
}

#[test]
fn what_is_written_for_the_example_application_is_on_record() {
    let folder = tempfile::tempdir().unwrap();
    let descriptors = inventory(folder.path());
    for (target, more, on_record, documents) in [
        ("envoy", &[][..], include_str!("../data/policy/inventory.envoy.yaml"), 1),
        ("envoy", &[STREAMS], include_str!("../data/policy/inventory.envoy.streams.yaml"), 1),
        ("istio", &[], include_str!("../data/policy/inventory.istio.yaml"), 2),
    ] {
        let ran = policy(target, &descriptors, more);
        assert_eq!((ran.code, &*ran.stderr), (0, ""));
        assert_eq!(ran.stdout, on_record, "{target} {more:?}");
        assert_eq!(parsed(&ran.stdout).len(), documents);
    }
}

#[test]
fn a_stream_that_must_end_with_its_token_is_denied_unless_it_is_said_that_it_need_not() {
    let folder = tempfile::tempdir().unwrap();
    let descriptors = inventory(folder.path());
    for target in ["envoy", "istio"] {
        let denied = policy(target, &descriptors, &[]).stdout;
        assert!(denied.contains("#   /inventory.v1.InventoryService/ListItems\n"), "{denied}");
        assert_eq!(denied.matches("InventoryService/ListItems").count(), 1, "{denied}");
        let allowed = policy(target, &descriptors, &[STREAMS]).stdout;
        assert!(allowed.contains("\"/inventory.v1.InventoryService/ListItems\""), "{allowed}");
        assert!(!allowed.contains("Denied to every caller"), "{allowed}");
    }
}

#[test]
fn what_cannot_be_said_is_denied_with_the_reason() {
    for (requirement, target, why) in [
        ("max_token_age: {seconds: 60}", "envoy", "max_token_age"),
        ("max_token_age: {seconds: 60}", "istio", "max_token_age"),
        (r#"claims: {claim: "tenant" values: "acme"}"#, "envoy", "values of claims"),
        (r#"claims: {claim: "tenant" values: "acme"}"#, "istio", "values of claims"),
        (r#"all_scopes: "items.*""#, "istio", "reads as a pattern"),
        (r#"any_scopes: ["a", "*b"]"#, "istio", "reads as a pattern"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let ran = policy(target, &demanding(folder.path(), requirement), &[]);
        assert!(ran.code == 0 && ran.stdout.contains("#   /a.S/M\n#     ") && ran.stdout.contains(why), "{ran:?}");
        assert!(!ran.stdout.contains("\"/a.S/M\""), "{ran:?}");
    }
    // To Envoy it is an ordinary character.
    let folder = tempfile::tempdir().unwrap();
    let ran = policy("envoy", &demanding(folder.path(), r#"all_scopes: "items.*""#), &[]);
    assert!(ran.stdout.contains("exact: \"items.*\""), "{ran:?}");
}

#[test]
fn every_scope_of_all_and_one_of_any_and_one_of_the_callers() {
    let folder = tempfile::tempdir().unwrap();
    let requirement = r#"all_scopes: ["a", "b"], any_scopes: ["c", "d"], callers: ["orders", "batch-*"]"#;
    let descriptors = demanding(folder.path(), requirement);
    let istio = policy("istio", &descriptors, &[]).stdout;
    let scopes = |values: &str| format!("- key: \"request.auth.claims[scope]\"\n          values:\n{values}");
    for one in ["            - \"a\"\n", "            - \"b\"\n", "            - \"c\"\n            - \"d\""] {
        assert!(istio.contains(&scopes(one)), "{one}\n{istio}");
    }
    assert!(istio.contains("- \"orders\"\n            - \"batch-*\""), "{istio}");
    let envoy = policy("envoy", &descriptors, &[]).stdout;
    for expected in
        ["exact: \"a\"", "exact: \"b\"", "exact: \"c\"", "exact: \"d\"", "exact: \"orders\"", "prefix: \"batch-\""]
    {
        assert_eq!(envoy.matches(expected).count(), 1, "{expected}\n{envoy}");
    }
    // For the type, the algorithm, any_scopes and the callers.
    assert_eq!(envoy.matches("or_ids:").count(), 4, "{envoy}");
}

#[test]
fn a_file_without_a_policy_and_an_issuer_that_is_none_are_mistakes_of_the_caller() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty");
    fs::write(&file, "").unwrap();
    let ran = policy("envoy", file.to_str().unwrap(), &[]);
    assert!(ran.code == 2 && ran.stderr.contains("no service in it has m2m.auth.v1 annotations"), "{ran:?}");
    let ran = policy("istio", "nowhere", &[]);
    assert!(ran.code == 2 && ran.stderr.contains("nowhere: No such file"), "{ran:?}");
    let inventory = inventory(folder.path());
    let home = tempfile::tempdir().unwrap();
    let ran =
        run(home.path(), &["policy", "envoy", "--descriptor", &inventory, "--issuer", "http://tokens.example.com"]);
    assert!(ran.code == 2 && ran.stderr.contains("is not https"), "{ran:?}");
}

#[test]
fn help_has_examples() {
    let home = tempfile::tempdir().unwrap();
    let help = run(home.path(), &["policy", "--help"]).stdout;
    assert!(help.contains("Examples:") && help.contains("token-server policy istio --descriptor"), "{help}");
}
