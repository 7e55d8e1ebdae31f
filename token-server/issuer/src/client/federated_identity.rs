//! The identity of a workload at another issuer, by which a client authenticates without a secret.
//!
//! There are no patterns. A subject is named exactly, or by a prefix that ends at a separator. Each further
//! claim is named by a JSON pointer (RFC 6901) and has one of the listed values. A rule that is absent
//! matches nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use token_interceptor::json;

use super::is_printable;

/// OpenID Connect Core section 2: `sub` has at most 255 characters.
const SUBJECT_BYTES_MAX: usize = 255;
/// The longest issuer identifier, in bytes.
const ISSUER_BYTES_MAX: usize = 512;
/// The most further claims of one rule.
const CLAIMS_MAX: usize = 16;
/// The most allowed values of one claim.
const VALUES_MAX: usize = 32;
/// The longest pointer, and the longest value of a claim, in bytes.
const CLAIM_BYTES_MAX: usize = 512;
/// The separators that a prefix may end with: Kubernetes and GitHub write `:`, SPIFFE and GitLab write `/`.
const SEPARATORS: [char; 2] = [':', '/'];
/// The range of [`FederatedIdentity::max_age`], in seconds.
const AGE_SECONDS: std::ops::RangeInclusive<u64> = 10..=86_400;

/// A rule for the assertions of one issuer. An assertion that meets it proves that its sender is the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FederatedIdentity {
    /// The issuer identifier, compared byte for byte.
    pub issuer: String,
    /// The subjects.
    pub subject: SubjectMatch,
    /// The allowed values of further claims, by JSON pointer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, BTreeSet<String>>,
    /// The longest time since `iat`, if it is shorter than the issuer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    /// Accepts one assertion again until it expires. Otherwise each is accepted once, by its `jti`.
    #[serde(default)]
    pub reuse: bool,
}

/// The subjects that a rule accepts.
///
/// Exhaustive: the index of subjects must handle a new kind before it compiles.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectMatch {
    /// This subject.
    Exactly(String),
    /// Every longer subject with this prefix, which ends at a separator.
    Prefix(String),
}

/// The rule that a [`FederatedIdentity`] breaks, with the name of its field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct FederatedIdentityError {
    /// The field, by its name in the `.proto`.
    pub field: &'static str,
    /// The rule.
    pub rule: String,
}

impl FederatedIdentity {
    /// Checks the form of the rule.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), FederatedIdentityError> {
        expect(is_text(&self.issuer, ISSUER_BYTES_MAX), "issuer", "an issuer identifier of at most 512 bytes")?;
        match &self.subject {
            SubjectMatch::Exactly(subject) => {
                expect(is_text(subject, SUBJECT_BYTES_MAX), "subject", "a subject of at most 255 bytes")?;
            }
            SubjectMatch::Prefix(prefix) => {
                let rule = "a prefix that ends with \":\" or \"/\", as in \"system:serviceaccount:prod:\". In a URL it \
                            names the whole host. The final \"*\" is not written";
                expect(is_text(prefix, SUBJECT_BYTES_MAX) && is_prefix(prefix), "subject_prefix", rule)?;
            }
        }
        expect(self.claims.len() <= CLAIMS_MAX, "claims", "at most 16 claims")?;
        for (pointer, values) in &self.claims {
            expect(
                is_pointer(pointer),
                "claims",
                format!("{pointer:?} is not a JSON pointer, as in \"/repository_id\""),
            )?;
            let sane = values.len() <= VALUES_MAX && values.iter().all(|value| is_text(value, CLAIM_BYTES_MAX));
            expect(
                sane && !values.is_empty(),
                "claims",
                format!("{pointer:?} has 1 to 32 values, each of 1 to 512 bytes"),
            )?;
        }
        let age = self.max_age.is_none_or(|age| AGE_SECONDS.contains(&age.as_secs()));
        expect(age, "max_age", "from 10 seconds to a day")
    }

    /// Returns the first claim that the rule does not accept: what came, and what is expected. `None` if the
    /// claims meet the rule. The age is checked apart, because it depends on the time.
    #[must_use]
    pub fn mismatch(&self, claims: &Map<String, Value>) -> Option<Mismatch<'_>> {
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
        if !self.subject.accepts(subject) {
            return Some(Mismatch::Subject(&self.subject));
        }
        let unmet = self.claims.iter().find(|(pointer, values)| !is_met(json::member(claims, pointer), values));
        unmet.map(|(pointer, values)| Mismatch::Claim { pointer, came: json::member(claims, pointer).cloned(), values })
    }
}

/// The claim that a rule does not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch<'r> {
    /// `sub`.
    Subject(&'r SubjectMatch),
    /// A further claim.
    Claim {
        /// Its JSON pointer.
        pointer: &'r str,
        /// Its value.
        came: Option<Value>,
        /// The allowed values.
        values: &'r BTreeSet<String>,
    },
}

impl SubjectMatch {
    /// Returns true if the rule accepts the subject.
    #[must_use]
    pub fn accepts(&self, subject: &str) -> bool {
        is_text(subject, SUBJECT_BYTES_MAX)
            && match self {
                Self::Exactly(wanted) => wanted == subject,
                Self::Prefix(prefix) => {
                    is_prefix(prefix) && subject.len() > prefix.len() && subject.starts_with(prefix)
                }
            }
    }

    /// Returns the key of the rule in an index of subjects.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Exactly(subject) => format!("={subject}"),
            Self::Prefix(prefix) => format!("^{prefix}"),
        }
    }

    /// Returns the keys of all rules that can accept the subject: at most one for each of its characters.
    #[must_use]
    pub fn keys_of(subject: &str) -> Vec<String> {
        if !is_text(subject, SUBJECT_BYTES_MAX) {
            return Vec::new();
        }
        let ends = subject.match_indices(SEPARATORS).map(|(at, separator)| at + separator.len());
        let prefixes = ends.filter_map(|end| subject.get(..end)).filter(|prefix| is_prefix(prefix));
        let prefixes = prefixes.map(|prefix| Self::Prefix(prefix.to_owned()).key());
        std::iter::once(Self::Exactly(subject.to_owned()).key()).chain(prefixes).collect()
    }
}

impl fmt::Display for SubjectMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(subject) => write!(f, "{subject:?}"),
            Self::Prefix(prefix) => write!(f, "the prefix {prefix:?}"),
        }
    }
}

fn expect(kept: bool, field: &'static str, rule: impl Into<String>) -> Result<(), FederatedIdentityError> {
    if kept { Ok(()) } else { Err(FederatedIdentityError { field, rule: rule.into() }) }
}

fn is_text(text: &str, bytes_max: usize) -> bool {
    !text.is_empty() && text.len() <= bytes_max && is_printable(text)
}

/// Returns true if the prefix ends at a separator, and is neither a scheme alone nor the first part of a
/// host. `spiffe:`, `spiffe:/` and `spiffe://` would accept every trust domain.
fn is_prefix(prefix: &str) -> bool {
    if !prefix.ends_with(SEPARATORS) {
        return false;
    }
    match prefix.split_once("://") {
        Some((_, rest)) => rest.find('/').is_some_and(|slash| slash > 0),
        None => !prefix.ends_with(":/") && !is_scheme(prefix),
    }
}

/// Returns true for the scheme of the URLs in which subjects are written.
fn is_scheme(prefix: &str) -> bool {
    ["spiffe:", "https:", "http:"].iter().any(|scheme| prefix.eq_ignore_ascii_case(scheme))
}

/// Returns true for a JSON pointer to a member of the claims. RFC 6901 section 3.
fn is_pointer(pointer: &str) -> bool {
    let escaped = |token: &str| token.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    is_text(pointer, CLAIM_BYTES_MAX) && pointer.starts_with('/') && escaped(pointer) && pointer != "/"
}

/// Returns true if the claim has one of the values. Numbers and booleans count as they are written in JSON.
/// Of a claim with several values, such as `groups`, one suffices.
fn is_met(claim: Option<&Value>, values: &BTreeSet<String>) -> bool {
    match claim {
        Some(Value::Array(several)) => several.iter().any(|value| is_one(value, values)),
        Some(value) => is_one(value, values),
        None => false,
    }
}

fn is_one(value: &Value, values: &BTreeSet<String>) -> bool {
    match value {
        Value::String(text) => values.contains(text),
        Value::Bool(_) | Value::Number(_) => values.contains(&value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(subject: SubjectMatch) -> FederatedIdentity {
        let issuer = "https://issuer.example".to_owned();
        FederatedIdentity { issuer, subject, claims: BTreeMap::new(), max_age: None, reuse: false }
    }

    fn prefix(text: &str) -> SubjectMatch {
        SubjectMatch::Prefix(text.to_owned())
    }

    fn exactly(text: &str) -> SubjectMatch {
        SubjectMatch::Exactly(text.to_owned())
    }

    /// octo-sts joins `^`, the pattern and `$`, so that `a|b` accepts `ab`.
    #[test]
    fn a_subject_is_text_and_never_a_pattern() {
        for (rule, subject) in [("a|b", "a"), ("a|b", "ab"), ("a.c", "abc"), ("a*", "abc"), ("(a)", "a"), ("a?", "a")] {
            assert!(!exactly(rule).accepts(subject), "{rule} {subject}");
            assert!(exactly(rule).accepts(rule), "{rule}");
        }
        for other in ["", "Repo", "repo ", " repo", "repo\n", "repos", "rep"] {
            assert!(!exactly("repo").accepts(other), "{other:?}");
        }
    }

    #[test]
    fn a_prefix_ends_at_a_separator_and_covers_the_whole_host() {
        for good in ["system:serviceaccount:prod:", "repo:acme/", "spiffe://prod.example/", "https://a.example/b/"] {
            assert!(rule(prefix(good)).check().is_ok(), "{good}");
        }
        for bad in [
            "",
            "repo:acme",
            "repo:acme*",
            "*",
            "spiffe:",
            "SPIFFE:",
            "spiffe:/",
            "spiffe://",
            "spiffe:///",
            "spiffe://prod",
            "https://a.example",
            "https://a:",
            "x\n:",
        ] {
            let error = rule(prefix(bad)).check().unwrap_err();
            assert_eq!(error.field, "subject_prefix", "{bad}");
            assert!(!prefix(bad).accepts(&format!("{bad}x")), "{bad}");
        }
    }

    /// A prefix that crosses `/` would reach another owner, or another host.
    #[test]
    fn a_prefix_reaches_no_other_owner_and_no_other_host() {
        for (rule, good, bad) in [
            ("repo:acme/", "repo:acme/orders:ref:refs/heads/main", "repo:acme-evil/orders:ref:refs/heads/main"),
            ("system:serviceaccount:prod:", "system:serviceaccount:prod:orders", "system:serviceaccount:prod2:orders"),
            ("spiffe://prod.example/", "spiffe://prod.example/ns/a", "spiffe://prod.example.evil/ns/a"),
            ("repo:acme/", "repo:acme/x", "repo:acme/"),
        ] {
            assert!(prefix(rule).accepts(good), "{good}");
            assert!(!prefix(rule).accepts(bad), "{bad}");
        }
    }

    /// The index finds a rule by the keys of the subject: neither side may miss the other.
    #[test]
    fn the_keys_of_a_subject_are_those_of_the_rules_that_accept_it() {
        let rules = ["a:", "a:b/", "spiffe://t/", "spiffe://t/x/", "spiffe:", "spiffe://", "repo:acme/"].map(prefix);
        let rules = rules.into_iter().chain(["a:b/c", "spiffe://t/x/y", "^a:", "=a"].map(exactly));
        let rules: Vec<_> = rules.collect();
        for subject in ["a:b/c", "spiffe://t/x/y", "repo:acme/z", "^a:", "=a", "a", "", "a:", "spiffe://t"] {
            let keys = SubjectMatch::keys_of(subject);
            for rule in &rules {
                // A prefix does not accept itself, and its key is still looked up.
                if rule.accepts(subject) {
                    assert!(keys.contains(&rule.key()), "{rule} {subject}");
                } else if keys.contains(&rule.key()) {
                    assert_eq!(*rule, prefix(subject));
                }
            }
            assert!(keys.len() <= subject.len() + 1);
        }
    }

    #[test]
    fn claims_are_found_by_pointer_and_compared_whole() {
        let claims = json!({
            "sub": "s", "kubernetes.io": {"serviceaccount": {"uid": "7", "name": "orders"}}, "a/b": "1", "n": 5, "t": true,
            "groups": ["dev", "prod"], "none": null, "object": {"a": 1},
        });
        let met = |pointer: &str, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            let rule = FederatedIdentity { claims: [(pointer.to_owned(), values)].into(), ..rule(exactly("s")) };
            assert!(rule.check().is_ok(), "{pointer}");
            rule.mismatch(claims.as_object().unwrap()).is_none()
        };
        for (pointer, value) in [
            ("/kubernetes.io/serviceaccount/uid", "7"),
            ("/a~1b", "1"),
            ("/n", "5"),
            ("/t", "true"),
            ("/groups", "prod"),
        ] {
            assert!(met(pointer, &["other", value]), "{pointer}");
            assert!(!met(pointer, &["other"]), "{pointer}");
        }
        for pointer in ["/kubernetes/io", "/kubernetes.io", "/missing", "/none", "/object", "/groups/dev", "/sub/x"] {
            assert!(!met(pointer, &["null", "7", "dev", "s"]), "{pointer}");
        }
    }

    #[test]
    fn a_rule_of_another_form_is_refused_by_its_field() {
        let good = rule(exactly("s"));
        let claim = |pointer: &str, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            FederatedIdentity { claims: [(pointer.to_owned(), values)].into(), ..good.clone() }
        };
        for (field, bad) in [
            ("issuer", FederatedIdentity { issuer: String::new(), ..good.clone() }),
            ("subject", rule(exactly(""))),
            ("subject", rule(exactly(&"x".repeat(256)))),
            ("claims", claim("repository_id", &["1"])),
            ("claims", claim("/", &["1"])),
            ("claims", claim("/a~2", &["1"])),
            ("claims", claim("/a", &[])),
            ("claims", claim("/a", &[""])),
            ("max_age", FederatedIdentity { max_age: Some(Duration::from_secs(1)), ..good.clone() }),
            ("max_age", FederatedIdentity { max_age: Some(Duration::from_secs(86_401)), ..good.clone() }),
        ] {
            assert_eq!(bad.check().unwrap_err().field, field, "{bad:?}");
        }
    }
}
