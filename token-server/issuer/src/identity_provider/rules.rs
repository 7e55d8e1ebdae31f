//! Rules on the subjects and claims of a provider, and the names of its subjects here.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::client::is_printable;

/// The placeholder for the provider's `sub` in a [`Namespace`].
const PLACEHOLDER: &str = "{sub}";
/// OpenID Connect Core section 2: `sub` has at most 255 characters.
const SUBJECT_BYTES_MAX: usize = 255;

/// The subjects whose tokens may be exchanged. If empty, no token may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectRule {
    /// These subjects.
    pub exactly: BTreeSet<String>,
    /// Subjects with these prefixes.
    pub prefixes: Vec<String>,
    /// Accepts every subject of the provider.
    pub any: bool,
}

impl SubjectRule {
    /// Returns true if the subject's tokens may be exchanged.
    #[must_use]
    pub fn allows(&self, subject: &str) -> bool {
        let sane = subject.len() <= SUBJECT_BYTES_MAX && is_printable(subject);
        let named = || self.exactly.contains(subject) || self.prefixes.iter().any(|start| subject.starts_with(start));
        sane && (self.any || named())
    }
}

/// The names of a provider's subjects here: a prefix of its own, and then the provider's `sub`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace(String);

impl Namespace {
    /// Reads a template such as `corporate:{sub}`. `None` if it does not end in `{sub}` after a prefix.
    #[must_use]
    pub fn parse(template: &str) -> Option<Self> {
        let start = template.strip_suffix(PLACEHOLDER)?;
        let sane =
            !start.is_empty() && !start.contains(['{', '}']) && start.bytes().all(|byte| byte.is_ascii_graphic());
        sane.then(|| Self(start.to_owned()))
    }

    /// Returns the name of the provider's subject here.
    #[must_use]
    pub fn name(&self, subject: &str) -> String {
        format!("{}{subject}", self.0)
    }

    /// The prefix of each name.
    #[must_use]
    pub fn start(&self) -> &str {
        &self.0
    }

    /// Returns true if a subject of the provider may have the name.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        name.starts_with(&self.0)
    }

    /// Returns true if a name could be in both: one prefix continues the other.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0) || other.0.starts_with(&self.0)
    }
}

/// A claim that a token must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredClaim {
    /// Its name.
    pub name: String,
    /// It must have one of these values, of the same type.
    pub any_of: Vec<Value>,
}

impl RequiredClaim {
    /// Returns true if `claims` contain the required value. In a claim with several values, such as `groups`,
    /// one of them suffices.
    #[must_use]
    pub fn is_met(&self, claims: &Map<String, Value>) -> bool {
        match claims.get(&self.name) {
            None => false,
            Some(Value::Array(several)) => several.iter().any(|value| self.any_of.contains(value)),
            Some(value) => self.any_of.contains(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_empty_rule_allows_no_subject() {
        assert!(!SubjectRule::default().allows("alice"));
        assert!(!SubjectRule::default().allows(""));
    }

    #[test]
    fn subjects_are_named_exactly_or_by_their_beginning() {
        let rule = SubjectRule {
            exactly: ["alice".to_owned()].into(),
            prefixes: vec!["system:serviceaccount:prod:".to_owned()],
            any: false,
        };
        for allowed in ["alice", "system:serviceaccount:prod:orders"] {
            assert!(rule.allows(allowed), "{allowed}");
        }
        for refused in ["alice2", "Alice", "", "system:serviceaccount:production:orders"] {
            assert!(!rule.allows(refused), "{refused}");
        }
    }

    #[test]
    fn no_rule_allows_a_subject_that_is_too_long_or_not_text() {
        let any = SubjectRule { any: true, ..SubjectRule::default() };
        assert!(any.allows(&"x".repeat(255)));
        assert!(!any.allows(&"x".repeat(256)));
        assert!(!any.allows("a\nb"));
    }

    #[test]
    fn a_namespace_is_a_beginning_and_then_the_subject() {
        assert_eq!(Namespace::parse("corporate:{sub}").unwrap().name("alice"), "corporate:alice");
        for bad in ["{sub}", "corporate", "{sub}:x", "a{sub}b{sub}", "a b{sub}", "é:{sub}", ""] {
            assert!(Namespace::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn namespaces_overlap_where_one_continues_the_other() {
        let of = |template: &str| Namespace::parse(template).unwrap();
        assert!(of("a{sub}").overlaps(&of("ab{sub}")), "a + bx is ab + x");
        assert!(of("a:{sub}").overlaps(&of("a:{sub}")));
        assert!(!of("a:{sub}").overlaps(&of("ab:{sub}")));
    }

    #[test]
    fn a_claim_has_one_of_the_values_and_its_type() {
        let claim = |any_of: Value| RequiredClaim { name: "x".into(), any_of: any_of.as_array().unwrap().clone() };
        let met = |claim: &RequiredClaim, value: Value| claim.is_met(json!({ "x": value }).as_object().unwrap());
        let claim_1 = claim(json!(["prod", 1, true]));
        for good in [json!("prod"), json!(1), json!(true), json!(["dev", "prod"])] {
            assert!(met(&claim_1, good.clone()), "{good}");
        }
        for bad in [json!("Prod"), json!("1"), json!(1.5), json!("true"), json!(null), json!([]), json!({"prod": 1})] {
            assert!(!met(&claim_1, bad.clone()), "{bad}");
        }
        assert!(!claim_1.is_met(&Map::new()));
        assert!(!met(&claim(json!([])), json!("prod")));
    }
}
