//! The declared policy, as far as a proxy alone can enforce it. The rest is denied, with the reason.

use std::collections::BTreeSet;

use token_proto::policy::{Access, MethodKind, MethodPolicy, Requirement, StreamExpiry};

/// The permitted and the denied methods.
pub(super) struct Rules {
    pub(super) allowed: Vec<Rule>,
    /// The path of each denied method, and the reason.
    pub(super) denied: Vec<(String, String)>,
}

/// A method that may be called.
pub(super) struct Rule {
    pub(super) path: String,
    /// `None` if callers need no token.
    pub(super) token: Option<Demand>,
}

/// The demands on a token.
pub(super) struct Demand {
    pub(super) audience: String,
    /// At least one scope of each list.
    pub(super) scopes: Vec<Vec<String>>,
    /// At least one of these, if there are any. A final `*` matches a prefix.
    pub(super) callers: Vec<String>,
}

impl Rules {
    pub(super) fn of(table: &[MethodPolicy], streams_outlive_tokens: bool) -> Self {
        let mut rules = Self { allowed: Vec::new(), denied: Vec::new() };
        for method in table {
            let path = method.path.to_string();
            match &method.access {
                Access::Undeclared => rules.deny(path, "declares no policy"),
                // A proxy does not tell the server behind it who calls.
                Access::Public | Access::Identify => rules.allowed.push(Rule { path, token: None }),
                Access::Require(requirement) => {
                    match beyond_a_proxy(requirement, method.kind, streams_outlive_tokens) {
                        Some(why) => rules.deny(path, why),
                        None => rules.allowed.push(Rule { path, token: Some(Demand::of(method, requirement)) }),
                    }
                }
            }
        }
        rules
    }

    /// Also denies the methods whose demand `inexpressible` rejects.
    pub(super) fn without(mut self, inexpressible: impl Fn(&Demand) -> Option<&'static str>) -> Self {
        for rule in std::mem::take(&mut self.allowed) {
            match rule.token.as_ref().and_then(&inexpressible) {
                Some(why) => self.deny(rule.path, why),
                None => self.allowed.push(rule),
            }
        }
        self
    }

    pub(super) fn audiences(&self) -> BTreeSet<&str> {
        self.allowed.iter().filter_map(|rule| rule.token.as_ref()).map(|demand| &*demand.audience).collect()
    }

    fn deny(&mut self, path: String, why: &str) {
        self.denied.push((path, why.to_owned()));
    }
}

impl Demand {
    fn of(method: &MethodPolicy, requirement: &Requirement) -> Self {
        let owned = |items: &[std::borrow::Cow<'static, str>]| items.iter().map(ToString::to_string).collect();
        let mut scopes: Vec<Vec<String>> = requirement.all_scopes.iter().map(|scope| vec![scope.to_string()]).collect();
        if !requirement.any_scopes.is_empty() {
            scopes.push(owned(&requirement.any_scopes));
        }
        Self { audience: method.audience.to_string(), scopes, callers: owned(&requirement.callers) }
    }
}

/// Returns the reason why a proxy cannot enforce the requirement. A proxy sees only the start of a call, and
/// checks no time except `exp`.
fn beyond_a_proxy(requirement: &Requirement, kind: MethodKind, streams_outlive_tokens: bool) -> Option<&'static str> {
    if !requirement.claims.is_empty() {
        return Some("asks for values of claims (claims)");
    }
    if requirement.max_token_age.is_some() {
        return Some("asks for a token of a certain age (max_token_age)");
    }
    let ends = requirement.stream_expiry == StreamExpiry::Close && kind != MethodKind::Unary;
    (ends && !streams_outlive_tokens)
        .then_some("its stream must end with the token (stream_expiry); --danger-streams-outlive-tokens allows it")
}

/// The comment at the top of the output: the content, its limits, and the methods that are denied because of
/// them.
pub(super) fn comment(about: &[&str], denied: &[(String, String)]) -> String {
    let mut comment: String = about.iter().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect();
    if !denied.is_empty() {
        comment.push_str("#\n# Denied to every caller, because this configuration cannot express the policy:\n");
        for (path, why) in denied {
            comment.push_str(&format!("#   {path}\n#     {why}\n"));
        }
    }
    comment
}
