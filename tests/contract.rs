//! Tests the contract: annotations reach the descriptor set and the policy table, and secrets are never
//! printed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use token_interceptor::status;
use token_proto::{POLICY, admin, policy::Access, token::v1};

#[test]
fn every_method_declares_a_policy() {
    assert!(POLICY.len() >= 15, "the table holds {} methods", POLICY.len());
    for method in POLICY {
        assert_ne!(method.access, Access::Undeclared, "{}", method.path);
    }
}

#[test]
fn the_exported_descriptor_set_keeps_the_annotations() {
    let read = token_proto::descriptor::policy(token_proto::FILE_DESCRIPTOR_SET).unwrap();
    assert_eq!(read, POLICY);
}

/// Counts `(m2m.auth.v1.sensitive) = true` in the `.proto` files.
fn sensitive_fields() -> usize {
    let files = ["token_service", "trust_service", "error_reason"].map(|name| format!("m2m/token/v1/{name}"));
    let admin = ["client_service", "key_service"].map(|name| format!("m2m/admin/v1/{name}"));
    let read = |name| std::fs::read_to_string(format!("{}/{name}.proto", token_proto::PROTO_INCLUDE)).unwrap();
    files.into_iter().chain(admin).map(|name| read(name).matches("sensitive) = true").count()).sum()
}

#[test]
fn debug_of_every_sensitive_field_is_censored() {
    let s = || "swordfish".to_owned();
    let assertion = v1::ClientAssertion { r#type: String::new(), value: s() };
    let printed = [
        format!("{:?}", v1::client_authentication::Credential::ClientSecret(s())),
        format!("{assertion:?}"),
        format!("{:?}", v1::Token { value: s(), ..Default::default() }),
        format!("{:?}", v1::SecurityToken { value: s(), ..Default::default() }),
        format!("{:?}", v1::IntrospectTokenRequest { token: s(), ..Default::default() }),
        format!("{:?}", v1::RevokeTokenRequest { token: s(), ..Default::default() }),
        format!("{:?}", admin::v1::CreateClientResponse { client_secret: s(), ..Default::default() }),
        format!("{:?}", admin::v1::Secret { imported_hash: s(), ..Default::default() }),
        format!("{:?}", admin::v1::AddCredentialResponse { client_secret: s(), ..Default::default() }),
        format!(
            "{:?}",
            admin::v1::ReplaceRegistrationTokenResponse { registration_access_token: s(), ..Default::default() }
        ),
    ];
    for text in &printed {
        assert!(!text.contains("swordfish") && text.contains("[redacted]"), "{text}");
    }
    assert_eq!(printed.len(), sensitive_fields(), "a sensitive field is not in this test");
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
    assert_eq!(page.lines().filter(|line| line.starts_with("| `")).count(), count, "a row names an unknown reason");
}

/// Returns each reason in the `.proto` with its comment, in file order. The comment begins with the status
/// codes.
fn commented_codes() -> Vec<(String, String)> {
    let mut codes = Vec::new();
    let mut comment = Vec::new();
    for line in include_str!("../proto/m2m/token/v1/error_reason.proto").lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("// ") {
            comment.push(text);
        } else if let Some(name) = line.strip_prefix("ERROR_REASON_").and_then(|rest| rest.split(' ').next()) {
            codes.push((name.to_owned(), comment.join(" ")));
            comment.clear();
        } else {
            comment.clear();
        }
    }
    codes
}

/// Returns the first word in backquotes of a cell.
fn quoted(cell: &str) -> &str {
    cell.split('`').nth(1).unwrap_or_default()
}

#[test]
fn errors_page_has_the_codes_of_the_one_table() {
    let page = include_str!("../token-server/docs/errors.md");
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let reason = v1::ErrorReason::from_str_name(&format!("ERROR_REASON_{}", quoted(cells[1]))).unwrap();
        let code = format!("{:?}", status::code(reason));
        let fix = "correct docs/errors.md, or `row` in token-interceptor/src/status.rs";
        assert!(cells[2].replace('_', "").eq_ignore_ascii_case(&code), "{row} is answered with {code}: {fix}");
        assert_eq!(status::http_status(reason).as_str(), cells[3], "{row}: {fix}");
        assert_eq!(status::oauth_error(reason), quoted(cells[4]), "{row}: {fix}");
    }
}

#[test]
fn the_contract_and_the_errors_page_name_the_same_codes() {
    let page = include_str!("../token-server/docs/errors.md");
    for (reason, comment) in commented_codes().into_iter().filter(|(reason, _)| reason != "UNSPECIFIED") {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{reason}` |"))).unwrap();
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let oauth = quoted(cells[4]);
        let codes = format!("{}, {oauth}", cells[2]);
        let rest = comment.strip_prefix(&codes).unwrap_or_else(|| panic!("{reason}: {comment:?} is not {codes}"));
        assert!(!rest.starts_with(|next: char| next.is_alphanumeric() || next == '_'), "{reason}: {comment}");
    }
    assert!(commented_codes().len() > 20);
}
