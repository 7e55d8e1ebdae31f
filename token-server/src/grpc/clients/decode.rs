//! Wire → domain for clients. Every field is named, so that a new one cannot be forgotten.

use std::time::{Duration, SystemTime};

use prost_types::{FieldMask, Timestamp};
use token_issuer::{
    admin::{AdminError, ClientDraft, ClientField, ClientUpdate, GrantDraft, NewCredential, NewCredentialKind},
    client::{FederatedIdentity, SubjectMatch},
};
use token_proto::admin::v1;

/// Fields that the server sets. They are ignored, so that a response can be sent back as a request. AIP-203.
const OUTPUT_ONLY: [&str; 4] = ["credentials", "etag", "create_time", "update_time"];

pub(super) struct Decoded {
    pub(super) draft: ClientDraft,
    etag: String,
}

pub(super) fn client(client: Option<v1::Client>) -> Result<Decoded, AdminError> {
    let v1::Client {
        client_id,
        display_name,
        grants,
        credentials: _,
        token_lifetime,
        claims,
        redirect_uris,
        disabled,
        labels,
        etag,
        create_time: _,
        update_time: _,
        grant_types,
        jwks_uri,
        may_impersonate,
        accept_token_endpoint_audience,
        subject_audiences,
    } = client.ok_or_else(|| AdminError::invalid("client", "it is missing"))?;
    let draft = ClientDraft {
        client_id,
        display_name,
        grants: grants.into_iter().map(grant).collect(),
        token_lifetime: token_lifetime.map(|lifetime| duration(lifetime, "client.token_lifetime")).transpose()?,
        claims: claims.into_iter().collect(),
        redirect_uris,
        disabled,
        grant_types,
        jwks_uri,
        may_impersonate,
        accept_token_endpoint_audience,
        subject_audiences,
        labels: labels.into_iter().collect(),
    };
    Ok(Decoded { draft, etag })
}

fn grant(grant: v1::Grant) -> GrantDraft {
    let v1::Grant { audience, scopes, default_scopes } = grant;
    GrantDraft { audience, scopes, default_scopes }
}

pub(super) fn update(request: v1::UpdateClientRequest) -> Result<ClientUpdate, AdminError> {
    let v1::UpdateClientRequest { client: wanted, update_mask, validate_only, keep_tokens } = request;
    let Decoded { draft, etag } = client(wanted)?;
    let fields = match update_mask {
        Some(mask) => fields(&mask)?,
        None => draft.set_fields(),
    };
    Ok(ClientUpdate { draft, fields, etag, validate_only, keep_tokens })
}

/// Reads the mask. AIP-134: `*` is a full replacement. AIP-161: an unknown field is rejected by name.
fn fields(mask: &FieldMask) -> Result<Vec<ClientField>, AdminError> {
    let mut fields = Vec::new();
    for path in &mask.paths {
        match (path.as_str(), ClientField::from_name(path)) {
            (_, Some(field)) => fields.push(field),
            ("*", None) => fields.extend(ClientField::ALL),
            ("client_id", None) => return Err(AdminError::invalid("update_mask", "client_id never changes")),
            (output, None) if OUTPUT_ONLY.contains(&output) => {}
            (unknown, None) => {
                let names = ClientField::ALL.map(ClientField::name).join(", ");
                let rule = format!("{unknown:?} is not a field that can be changed: {names}");
                return Err(AdminError::invalid("update_mask", rule));
            }
        }
    }
    fields.sort_unstable();
    fields.dedup();
    Ok(fields)
}

pub(super) fn credential(credential: Option<v1::Credential>) -> Result<NewCredential, AdminError> {
    let v1::Credential { credential_id: _, expire_time, create_time: _, last_used_time: _, kind } =
        credential.unwrap_or_default();
    let kind = match kind {
        None => NewCredentialKind::Secret,
        Some(v1::credential::Kind::Secret(v1::Secret { prefix: _, imported: _, imported_hash })) => {
            if imported_hash.is_empty() {
                NewCredentialKind::Secret
            } else {
                NewCredentialKind::ImportedSecret(imported_hash)
            }
        }
        Some(v1::credential::Kind::PublicKey(v1::PublicKey { jwk })) => NewCredentialKind::PublicKey(jwk),
        Some(v1::credential::Kind::FederatedIdentity(identity)) => {
            NewCredentialKind::FederatedIdentity(federated_identity(identity)?)
        }
    };
    let expire_time = expire_time.map(|expires| time(expires, "credential.expire_time")).transpose()?;
    Ok(NewCredential { kind, expire_time })
}

fn federated_identity(identity: v1::FederatedIdentity) -> Result<FederatedIdentity, AdminError> {
    const FIELD: &str = "credential.federated_identity";
    let v1::FederatedIdentity { issuer, accepts, claims, max_age, reuse } = identity;
    let subject = match accepts {
        Some(v1::federated_identity::Accepts::Subject(subject)) => SubjectMatch::Exactly(subject),
        Some(v1::federated_identity::Accepts::SubjectPrefix(prefix)) => SubjectMatch::Prefix(prefix),
        None => return Err(AdminError::invalid(format!("{FIELD}.subject"), "subject or subject_prefix is required")),
    };
    let values = |v1::ClaimValues { values }: v1::ClaimValues| values.into_iter().collect();
    let claims = claims.into_iter().map(|(pointer, allowed)| (pointer, values(allowed))).collect();
    let max_age = max_age.map(|age| duration(age, &format!("{FIELD}.max_age"))).transpose()?;
    Ok(FederatedIdentity { issuer, subject, claims, max_age, reuse })
}

/// Reads the overlap, at most ten years. A credential that is to stay has no overlap.
pub(super) fn overlap(overlap: Option<prost_types::Duration>) -> Result<Option<Duration>, AdminError> {
    const OVERLAP_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);
    let overlap = overlap.map(|overlap| duration(overlap, "overlap")).transpose()?;
    match overlap {
        Some(long) if long > OVERLAP_MAX => Err(AdminError::invalid("overlap", "it is longer than ten years")),
        Some(_) | None => Ok(overlap),
    }
}

fn duration(duration: prost_types::Duration, field: &str) -> Result<Duration, AdminError> {
    Duration::try_from(duration).map_err(|_| AdminError::invalid(field, "it is negative or out of range"))
}

pub(super) fn time(time: Timestamp, field: &str) -> Result<SystemTime, AdminError> {
    SystemTime::try_from(time).map_err(|_| AdminError::invalid(field, "it is out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(paths: &[&str]) -> Result<Vec<ClientField>, AdminError> {
        fields(&FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
    }

    #[test]
    fn a_mask_names_fields_and_nothing_else() {
        assert_eq!(mask(&["labels", "disabled", "labels"]).unwrap(), [ClientField::Disabled, ClientField::Labels]);
        assert_eq!(mask(&["*"]).unwrap(), ClientField::ALL);
        assert_eq!(mask(&[]).unwrap(), []);
        for bad in ["", "display-name", "displayName", "grants.scopes", "claims.tenant", "client_id"] {
            let AdminError::Invalid(violations) = mask(&[bad]).unwrap_err() else { panic!("{bad}") };
            assert_eq!(violations[0].field, "update_mask");
            assert!(violations[0].description.contains(bad), "{violations:?}");
        }
    }

    #[test]
    fn output_only_fields_in_a_mask_are_ignored() {
        assert_eq!(mask(&["etag", "create_time", "disabled"]).unwrap(), [ClientField::Disabled]);
    }

    #[test]
    fn without_a_mask_what_is_set_is_changed() {
        let wanted = v1::Client { client_id: "orders".to_owned(), disabled: true, ..v1::Client::default() };
        let request = v1::UpdateClientRequest { client: Some(wanted), ..v1::UpdateClientRequest::default() };
        assert_eq!(update(request).unwrap().fields, [ClientField::Disabled]);
    }

    #[test]
    fn times_out_of_range_are_refused_by_name() {
        let negative = prost_types::Duration { seconds: -1, nanos: 0 };
        let field = |error: AdminError| {
            let AdminError::Invalid(violations) = error else { panic!("{error:?}") };
            violations[0].field.clone()
        };
        assert_eq!(field(overlap(Some(negative)).unwrap_err()), "overlap");
        let wanted = v1::Client { token_lifetime: Some(negative), ..v1::Client::default() };
        assert_eq!(field(client(Some(wanted)).err().unwrap()), "client.token_lifetime");
        let expire_time = Some(Timestamp { seconds: i64::MIN, nanos: 0 });
        let bad = v1::Credential { expire_time, ..v1::Credential::default() };
        assert_eq!(field(credential(Some(bad)).unwrap_err()), "credential.expire_time");
    }
}
