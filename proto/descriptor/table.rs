//! Renders policy values as the Rust expression that [`crate::include_policy!`] includes.

use std::fmt::Write as _;

use crate::policy::{Access, MethodPolicy, Requirement, StreamExpiry};

/// Renders `&[MethodPolicy { … }, …]`. `root` is the path of this crate in the generated code.
pub(super) fn render(policies: &[MethodPolicy], root: &str) -> String {
    let mut text = String::from("&[\n");
    for policy in policies {
        let access = match &policy.access {
            Access::Undeclared => format!("{root}::policy::Access::Undeclared"),
            Access::Public => format!("{root}::policy::Access::Public"),
            Access::Identify => format!("{root}::policy::Access::Identify"),
            Access::Require(requirement) => {
                format!("{root}::policy::Access::Require({})", render_requirement(requirement, root))
            }
        };
        let _ = writeln!(
            text,
            "    {root}::policy::MethodPolicy::new({}, {}, {access}, {root}::policy::MethodKind::{:?}),",
            borrowed(&policy.path),
            borrowed(&policy.audience),
            policy.kind,
        );
    }
    text.push(']');
    text
}

fn render_requirement(requirement: &Requirement, root: &str) -> String {
    let max_token_age = requirement.max_token_age.map_or_else(
        || "::core::option::Option::None".to_owned(),
        |age| {
            format!(
                "::core::option::Option::Some(::core::time::Duration::new({}, {}))",
                age.as_secs(),
                age.subsec_nanos()
            )
        },
    );
    let stream_expiry = match requirement.stream_expiry {
        StreamExpiry::Close => "Close",
        StreamExpiry::Allow => "Allow",
    };
    format!(
        "{root}::policy::Requirement::new({}, {}, {}, {max_token_age}, {root}::policy::StreamExpiry::{stream_expiry}, {})",
        list(&requirement.all_scopes),
        list(&requirement.any_scopes),
        list(&requirement.callers),
        claims(requirement, root),
    )
}

fn claims(requirement: &Requirement, root: &str) -> String {
    let claims = requirement.claims.iter().map(|required| {
        let (claim, values) = (borrowed(&required.claim), list(&required.values));
        format!("{root}::policy::ClaimRequirement::new({claim}, {values})")
    });
    format!("::std::borrow::Cow::Borrowed(&[{}])", claims.collect::<Vec<_>>().join(", "))
}

fn list(items: &[std::borrow::Cow<'static, str>]) -> String {
    let items: Vec<String> = items.iter().map(|item| borrowed(item)).collect();
    format!("::std::borrow::Cow::Borrowed(&[{}])", items.join(", "))
}

fn borrowed(text: &str) -> String {
    format!("::std::borrow::Cow::Borrowed({text:?})")
}
