//! Identities of declared clients at other issuers. They hold nothing secret.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use token_issuer::{
    admin::AdminRules,
    client::{Credential, CredentialKind, FederatedIdentity, SubjectMatch},
};
use token_proto::admin::v1;

use super::credentials::{credential, humantime_time};
use crate::convert::admin::federated_identity;

/// `[[client.identity]]`: exactly one of `subject` and `subject_prefix`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeclaredIdentity {
    id: String,
    issuer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject_prefix: Option<String>,
    /// The allowed values of further claims, by JSON pointer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    claims: BTreeMap<String, Allowed>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_serde::option")]
    max_age: Option<Duration>,
    #[serde(default, skip_serializing_if = "super::is_false")]
    reuse: bool,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_time")]
    expires: Option<SystemTime>,
}

/// One value of a claim, or several alternatives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Allowed {
    One(String),
    AnyOf(Vec<String>),
}

impl DeclaredIdentity {
    /// Returns the credential, checked by the rules of the admin API.
    pub(super) fn credential(&self, rules: &AdminRules) -> Result<Credential, String> {
        let (id, identity) = (&self.id, self.identity()?);
        rules.check_identity(&identity).map_err(|error| format!("identity {id:?}: {error}"))?;
        credential(id, CredentialKind::FederatedIdentity(identity), self.expires)
    }

    /// Returns the credential for the admin API, which checks it.
    pub(super) fn to_proto(&self) -> Result<v1::Credential, String> {
        Ok(v1::Credential {
            kind: Some(v1::credential::Kind::FederatedIdentity(federated_identity(self.identity()?))),
            expire_time: self.expires.map(Into::into),
            ..v1::Credential::default()
        })
    }

    fn identity(&self) -> Result<FederatedIdentity, String> {
        let id = &self.id;
        let subject = match (&self.subject, &self.subject_prefix) {
            (Some(subject), None) => SubjectMatch::Exactly(subject.clone()),
            (None, Some(prefix)) => SubjectMatch::Prefix(prefix.clone()),
            (Some(_), Some(_)) | (None, None) => {
                return Err(format!("identity {id:?}: exactly one of subject and subject_prefix is required"));
            }
        };
        let values = |allowed: &Allowed| match allowed {
            Allowed::One(value) => [value.clone()].into(),
            Allowed::AnyOf(values) => values.iter().cloned().collect(),
        };
        Ok(FederatedIdentity {
            issuer: self.issuer.clone(),
            subject,
            claims: self.claims.iter().map(|(pointer, allowed)| (pointer.clone(), values(allowed))).collect(),
            max_age: self.max_age,
            reuse: self.reuse,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Credential, String> {
        let mut rules = AdminRules::new(Duration::from_secs(3600));
        rules.assertion_issuers = [("https://cluster.example/".to_owned(), None)].into();
        let declared: DeclaredIdentity = toml::from_str(text).map_err(|error| error.to_string())?;
        declared.credential(&rules)
    }

    const ISSUER: &str = "id = \"pod\"\nissuer = \"https://cluster.example/\"\n";

    #[test]
    fn a_declared_identity_is_a_credential() {
        let text = format!(
            "{ISSUER}subject = \"system:serviceaccount:prod:orders\"\nmax_age = \"10m\"\nreuse = true\n\
             claims = {{ \"/a\" = \"1\", \"/b/c\" = [\"2\", \"3\"] }}"
        );
        let credential = read(&text).unwrap();
        let CredentialKind::FederatedIdentity(identity) = credential.kind else { panic!("{credential:?}") };
        assert_eq!(identity.subject, SubjectMatch::Exactly("system:serviceaccount:prod:orders".to_owned()));
        assert_eq!((identity.max_age, identity.reuse), (Some(Duration::from_secs(600)), true));
        assert_eq!((identity.claims["/a"].len(), identity.claims["/b/c"].len()), (1, 2));
    }

    #[test]
    fn a_declared_identity_keeps_the_rules_of_the_admin_api() {
        for (text, expected) in [
            (ISSUER.to_owned(), "exactly one of subject and subject_prefix"),
            (format!("{ISSUER}subject = \"a\"\nsubject_prefix = \"a:\""), "exactly one of subject and subject_prefix"),
            (format!("{ISSUER}subject_prefix = \"repo:acme\""), "subject_prefix: a prefix that ends"),
            (format!("{ISSUER}subject = \"a\"\nclaims = {{ a = \"1\" }}"), "is not a JSON pointer"),
            (format!("{ISSUER}subject = \"a\"\npattern = \"a|b\""), "unknown field"),
            (format!("{}subject = \"a\"", ISSUER.replace("example/", "example")), "\"https://cluster.example/\""),
        ] {
            let problem = read(&text).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
