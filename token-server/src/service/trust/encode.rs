//! Domain → wire for trust.

use token_proto::token::v1::{self, revocation::Target};

use crate::{
    key::{KeyState, PublishedKey},
    metadata::Metadata,
    store::{Revocation, RevocationTarget},
};

pub(super) fn issuer(metadata: Metadata) -> v1::Issuer {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    v1::Issuer {
        grant_types: names(metadata.grant_types()),
        client_authentication_methods: names(metadata.client_authentication_methods()),
        signing_algorithms: metadata.signing_algorithms.iter().map(ToString::to_string).collect(),
        maximum_token_lifetime: prost_types::Duration::try_from(metadata.lifetime_max).ok(),
        issuer: metadata.issuer,
        jwks_uri: metadata.jwks_uri,
        token_endpoint: metadata.token_endpoint,
    }
}

pub(in crate::service) fn key(key: &PublishedKey) -> v1::Key {
    let PublishedKey { algorithm, jwk, state, sign_after, verify_until } = key;
    v1::Key {
        key_id: jwk.key_id().to_owned(),
        algorithm: algorithm.to_string(),
        jwk: jwk.to_json(),
        state: state_of(*state).into(),
        sign_after_time: Some((*sign_after).into()),
        verify_until_time: verify_until.map(Into::into),
    }
}

pub(super) fn revocation(revocation: &Revocation) -> v1::Revocation {
    let Revocation { target, revoked_before, forget_time } = revocation;
    let (target, issued_before_time) = match target {
        RevocationTarget::TokenId(token_id) => (Target::TokenId(token_id.clone()), None),
        RevocationTarget::Client(client_id) => {
            (Target::ClientId(client_id.to_string()), Some((*revoked_before).into()))
        }
    };
    v1::Revocation { target: Some(target), issued_before_time, forget_time: Some((*forget_time).into()) }
}

fn state_of(state: KeyState) -> v1::KeyState {
    match state {
        KeyState::Pending => v1::KeyState::Pending,
        KeyState::Active => v1::KeyState::Active,
        KeyState::Retiring => v1::KeyState::Retiring,
        KeyState::Distrusted => v1::KeyState::Distrusted,
    }
}
