//! Published keys: the JWK Set that verifiers fetch. RFC 7517 section 5.

use std::{sync::Arc, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use ring::digest;
use token_interceptor::{
    key_set::KeySet,
    signature::{Algorithm, PublicJwk},
};

/// The state of a key in its life cycle.
///
/// Exhaustive: the admin API must show a new state before it compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, but not signing yet.
    Pending,
    /// Signing.
    Active,
    /// No longer signing; its tokens are still valid.
    Retiring,
    /// Compromised: rejected, and removed from the JWK Set.
    Distrusted,
}

/// One key as verifiers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedKey {
    /// The one algorithm.
    pub algorithm: Algorithm,
    /// The public key, with its `kid`.
    pub jwk: PublicJwk,
    /// The state of the key.
    pub state: KeyState,
    /// The time at which the key starts to sign. It is published before.
    pub sign_after: SystemTime,
    /// The expiry of the last token that the key signed, once that is known.
    pub verify_until: Option<SystemTime>,
}

/// The keys at one moment, with the rendered JWK Set.
#[derive(Clone, Debug)]
pub struct PublishedKeys {
    /// Every key, distrusted keys included.
    pub keys: Vec<PublishedKey>,
    /// The JWK Set, without distrusted keys.
    pub jwks_json: Bytes,
    /// The entity tag: changes whenever `jwks_json` does. Quoted, as HTTP requires (RFC 9110 section 8.8.3).
    pub etag: String,
}

impl PublishedKeys {
    /// Renders `keys`.
    #[must_use]
    pub fn new(keys: Vec<PublishedKey>) -> Self {
        let members: Vec<_> = trusted(&keys).map(PublicJwk::to_json).collect();
        let json = format!(r#"{{"keys":[{}]}}"#, members.join(","));
        let hash = digest::digest(&digest::SHA256, json.as_bytes());
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(hash.as_ref().get(..16).unwrap_or_default()));
        Self { keys, jwks_json: json.into(), etag }
    }

    /// The keys that verify tokens: all but the distrusted.
    #[must_use]
    pub fn key_set(&self) -> KeySet {
        KeySet::from_public(trusted(&self.keys))
    }

    /// Returns `before` if nothing has changed, so that subscribers can compare pointers.
    pub(super) fn unless_equal(keys: Vec<PublishedKey>, before: &Arc<Self>) -> Arc<Self> {
        if before.keys == keys { Arc::clone(before) } else { Arc::new(Self::new(keys)) }
    }
}

fn trusted(keys: &[PublishedKey]) -> impl Iterator<Item = &PublicJwk> {
    keys.iter().filter(|key| key.state != KeyState::Distrusted).map(|key| &key.jwk)
}

#[cfg(test)]
mod tests {
    use token_interceptor::{json, signature::SigningKey};

    use super::*;

    fn key(state: KeyState) -> PublishedKey {
        let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
        PublishedKey {
            algorithm: Algorithm::Es256,
            jwk: SigningKey::from_der(Algorithm::Es256, &der).unwrap().public_jwk(),
            state,
            sign_after: SystemTime::UNIX_EPOCH,
            verify_until: None,
        }
    }

    #[test]
    fn the_jwk_set_has_every_key_but_the_distrusted() {
        let keys = vec![key(KeyState::Active), key(KeyState::Pending), key(KeyState::Distrusted)];
        let published = PublishedKeys::new(keys.clone());
        let set = json::object(&published.jwks_json).unwrap();
        let ids: Vec<_> = set["keys"].as_array().unwrap().iter().map(|jwk| jwk["kid"].as_str().unwrap()).collect();
        assert_eq!(ids, [keys[0].jwk.key_id(), keys[1].jwk.key_id()]);
    }

    #[test]
    fn own_verifier_has_the_keys_of_the_jwk_set() {
        let published =
            PublishedKeys::new(vec![key(KeyState::Active), key(KeyState::Pending), key(KeyState::Distrusted)]);
        let (own, fetched) = (published.key_set(), KeySet::from_jwks(&published.jwks_json).unwrap());
        assert_eq!((own.len(), own.skipped()), (2, 0));
        assert_eq!(own.keys().collect::<Vec<_>>().len(), fetched.len());
        for key in fetched.keys() {
            assert!(own.keys().any(|known| known == key), "{key:?}");
        }
    }

    #[test]
    fn the_jwk_set_has_no_private_member() {
        let published = PublishedKeys::new(vec![key(KeyState::Active)]);
        let set = json::object(&published.jwks_json).unwrap();
        let members: Vec<_> = set["keys"][0].as_object().unwrap().keys().cloned().collect();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    }

    #[test]
    fn the_etag_changes_with_the_set_and_only_then() {
        let (a, b) = (key(KeyState::Active), key(KeyState::Pending));
        let etag = |keys: &[&PublishedKey]| PublishedKeys::new(keys.iter().copied().cloned().collect()).etag;
        assert_eq!(etag(&[&a]), etag(&[&a]));
        assert_ne!(etag(&[&a]), etag(&[&a, &b]));
        assert!(etag(&[&a]).starts_with('"') && etag(&[&a]).ends_with('"'));
    }

    #[test]
    fn equal_keys_keep_the_same_rendering() {
        let a = key(KeyState::Active);
        let before = Arc::new(PublishedKeys::new(vec![a.clone()]));
        assert!(Arc::ptr_eq(&before, &PublishedKeys::unless_equal(vec![a.clone()], &before)));
        assert!(!Arc::ptr_eq(&before, &PublishedKeys::unless_equal(vec![a, key(KeyState::Pending)], &before)));
    }
}
