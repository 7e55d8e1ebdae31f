//! Domain → wire for the part of the admin API that a file of clients needs too.

use std::collections::BTreeSet;

use token_issuer::client::{FederatedIdentity, SubjectMatch};
use token_proto::admin::v1;

/// Returns the rule in the form of the admin API.
pub(crate) fn federated_identity(identity: FederatedIdentity) -> v1::FederatedIdentity {
    let FederatedIdentity { issuer, subject, claims, max_age, reuse } = identity;
    let accepts = match subject {
        SubjectMatch::Exactly(subject) => v1::federated_identity::Accepts::Subject(subject),
        SubjectMatch::Prefix(prefix) => v1::federated_identity::Accepts::SubjectPrefix(prefix),
    };
    let values = |(pointer, values): (String, BTreeSet<String>)| {
        (pointer, v1::ClaimValues { values: values.into_iter().collect() })
    };
    v1::FederatedIdentity {
        issuer,
        accepts: Some(accepts),
        claims: claims.into_iter().map(values).collect(),
        max_age: max_age.and_then(|age| prost_types::Duration::try_from(age).ok()),
        reuse,
    }
}
