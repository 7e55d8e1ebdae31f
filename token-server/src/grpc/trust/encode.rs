//! Domain → wire for trust.

use token_interceptor::revocation::Revoked;
use token_issuer::{
    key::{KeyState, PublishedKey},
    metadata::Metadata,
};
use token_proto::token::v1::{self, revocation::Target};

/// The last second of the year 9999, the latest that a timestamp may name.
const TIME_MAX: i64 = 253_402_300_799;

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

pub(in crate::grpc) fn key(key: &PublishedKey) -> v1::Key {
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

/// The entry names neither token nor client, because every caller may watch.
pub(super) fn revocation(revoked: &Revoked) -> v1::Revocation {
    let hash = revoked.target.as_bytes().to_vec();
    let (target, issued_before_time) = if revoked.issued_before == Revoked::ALWAYS {
        (Target::TokenHash(hash), None)
    } else {
        (Target::ClientHash(hash), Some(timestamp(revoked.issued_before)))
    };
    v1::Revocation { target: Some(target), issued_before_time, forget_time: Some(timestamp(revoked.forget)) }
}

fn timestamp(seconds: u64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: i64::try_from(seconds).unwrap_or(i64::MAX).min(TIME_MAX), nanos: 0 }
}

fn state_of(state: KeyState) -> v1::KeyState {
    match state {
        KeyState::Pending => v1::KeyState::Pending,
        KeyState::Active => v1::KeyState::Active,
        KeyState::Retiring => v1::KeyState::Retiring,
        KeyState::Distrusted => v1::KeyState::Distrusted,
    }
}
