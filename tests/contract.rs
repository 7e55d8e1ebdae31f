//! The contract keeps its promises: annotations reach the descriptor set and the table, secrets never print.

use token_proto::{POLICY, policy::Access, v1};

#[test]
fn every_method_declares_a_policy() {
    assert!(POLICY.len() >= 15, "the table holds {} methods", POLICY.len());
    for method in POLICY {
        assert_ne!(method.access, Access::Undeclared, "{}", method.path);
    }
}

#[test]
fn debug_of_a_secret_is_censored() {
    let request = v1::IssueTokenRequest {
        client: Some(v1::ClientAuthentication {
            client_id: "orders".into(),
            credential: Some(v1::client_authentication::Credential::ClientSecret("swordfish".into())),
        }),
        ..Default::default()
    };
    let shown = format!("{request:?}");
    assert!(shown.contains("orders") && !shown.contains("swordfish"), "{shown}");

    let token = v1::Token { value: "header.claims.signature".into(), token_id: "t1".into(), ..Default::default() };
    let shown = format!("{token:?}");
    assert!(shown.contains("t1") && !shown.contains("header.claims"), "{shown}");
}

#[test]
fn every_error_reason_is_documented() {
    let page = include_str!("../token-server/docs/errors.md");
    let reasons = (1..=200).filter_map(|number| v1::ErrorReason::try_from(number).ok());
    let mut count = 0;
    for reason in reasons {
        let row = format!("| `{}` |", reason.as_reason());
        assert!(page.contains(&row), "docs/errors.md has no row for {}", reason.as_reason());
        count += 1;
    }
    assert_eq!(page.lines().filter(|line| line.starts_with("| `")).count(), count, "a row names a reason that is none");
}
