//! Hashes of secrets, and the peppers that key them.

use std::{fmt, sync::Arc, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use subtle::{Choice, ConstantTimeEq as _};

use super::{
    ClientSecret,
    imported::{self, ImportError, Remembered},
};
use crate::{
    client::{Credential, CredentialKind},
    cost::{Step, takes},
    key_material::KeyMaterial,
};

/// The length of an HMAC-SHA-256, in bytes.
const MAC_BYTES: usize = 32;

/// The stored form of a secret.
///
/// Exhaustive: verification must handle a new form before it compiles.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretHash {
    /// HMAC-SHA-256 of a secret that this server generated.
    Hmac {
        /// The start of the secret, long enough to find it in a leak report.
        prefix: String,
        /// The ID of the pepper that keys the hash.
        pepper_id: String,
        /// The hash.
        #[serde(serialize_with = "write_mac", deserialize_with = "read_mac")]
        mac: [u8; MAC_BYTES],
    },
    /// Argon2id of a secret that was imported and may be guessable.
    Argon2id {
        /// Parameters, salt and hash in the PHC string format.
        phc: String,
    },
}

impl SecretHash {
    /// Returns true if it is the hash of `secret`, an imported one. False for a hash that a pepper keys.
    #[must_use]
    pub fn is_of_imported(&self, secret: &str) -> bool {
        match self {
            Self::Hmac { .. } => false,
            Self::Argon2id { phc } => imported::verify(secret, phc),
        }
    }
}

/// One key for hashing secrets.
#[derive(Clone)]
pub struct Pepper {
    id: Arc<str>,
    key: hmac::Key,
}

/// The pepper for new secrets, and the older peppers that existing secrets still need.
#[derive(Clone, Debug)]
pub struct Peppers {
    current: Pepper,
    previous: Vec<Pepper>,
    /// Allows the registration of imported secrets.
    may_import: bool,
    /// `None` if imported secrets are not accepted.
    imported: Option<Arc<Remembered>>,
}

impl Pepper {
    /// Derives a pepper from a key that the operator provides.
    #[must_use]
    pub fn new(material: &KeyMaterial) -> Self {
        Self { id: material.id().into(), key: hmac::Key::new(hmac::HMAC_SHA256, material.bytes()) }
    }

    /// The ID of the pepper.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    fn mac(&self, presented: &str) -> hmac::Tag {
        takes(Step::KeyedHash);
        hmac::sign(&self.key, presented.as_bytes())
    }
}

impl Peppers {
    /// `current` hashes new secrets. Secrets hashed with one of `previous` remain valid.
    #[must_use]
    pub fn new(current: Pepper, previous: Vec<Pepper>) -> Self {
        Self { current, previous, may_import: false, imported: None }
    }

    /// Accepts imported secrets too. From then on, each wrong secret that does not have this server's form
    /// costs one slow hash, for every client ID.
    ///
    /// # Errors
    ///
    /// When the system has no randomness.
    pub fn accept_imported(self) -> Result<Self, ImportError> {
        Ok(Self { may_import: true, imported: Some(Arc::new(Remembered::new()?)), ..self })
    }

    /// Sets if hashes of imported secrets may be registered. The verification of such secrets is
    /// [`Peppers::accept_imported`].
    #[must_use]
    pub fn importing(self, may_import: bool) -> Self {
        Self { may_import, ..self }
    }

    /// Takes the hash of an imported secret, made elsewhere, into use.
    ///
    /// # Errors
    ///
    /// When it is not Argon2id of the one allowed cost, or the registration is not allowed.
    pub fn import(&self, phc: &str) -> Result<SecretHash, ImportError> {
        imported::check(phc)?;
        if self.may_import { Ok(SecretHash::Argon2id { phc: phc.to_owned() }) } else { Err(ImportError::NotAccepted) }
    }

    /// Returns true if a client's secret could be guessed: imported secrets are accepted and `presented` does
    /// not have this server's form. The server's own secrets have 256 random bits and cannot be guessed.
    #[must_use]
    pub fn is_guessable(&self, presented: &str) -> bool {
        self.imported.is_some() && ClientSecret::parse(presented).is_err()
    }

    /// The IDs of all peppers, the current one first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.all().map(Pepper::id)
    }

    /// Hashes a secret of this server.
    #[must_use]
    pub fn hash(&self, secret: &ClientSecret) -> SecretHash {
        let tag = self.current.mac(secret.expose());
        SecretHash::Hmac {
            prefix: secret.shown_prefix().to_owned(),
            pepper_id: self.current.id().to_owned(),
            mac: tag.as_ref().try_into().unwrap_or([0; MAC_BYTES]),
        }
    }

    /// Hashes an imported secret. Slow by design. No pepper keys the hash.
    ///
    /// # Errors
    ///
    /// When the secret is empty or too long, or the system has no randomness.
    pub fn hash_imported(secret: &str) -> Result<SecretHash, ImportError> {
        imported::hash(secret).map(|phc| SecretHash::Argon2id { phc })
    }

    /// Returns true if `presented` is the secret of `hash`. The time is constant for each kind of hash.
    #[must_use]
    pub fn matches(&self, presented: &str, hash: &SecretHash) -> bool {
        match hash {
            SecretHash::Hmac { pepper_id, mac, .. } => {
                let known = self.all().find(|pepper| pepper.id() == pepper_id);
                let tag = known.unwrap_or(&self.current).mac(presented);
                bool::from(tag.as_ref().ct_eq(mac) & Choice::from(u8::from(known.is_some())))
            }
            SecretHash::Argon2id { phc } => imported::verify(presented, phc),
        }
    }

    /// Returns true if `presented` is the secret of `hash`. Without a hash the work is the same.
    #[must_use]
    pub fn matches_any(&self, presented: &str, hash: Option<&SecretHash>) -> bool {
        match hash {
            Some(hash) => self.matches(presented, hash),
            None => {
                let tag = self.current.mac(presented);
                bool::from(tag.as_ref().ct_eq(&[0; MAC_BYTES]) & Choice::from(0))
            }
        }
    }

    /// Finds the live credential among `credentials` that has the secret `presented`.
    ///
    /// Computes one HMAC per pepper for every input, even without credentials. An unknown client therefore
    /// costs what a wrong secret costs.
    ///
    /// If imported secrets are accepted, a secret that matches no HMAC and lacks this server's form costs one
    /// slow hash. That hash is compared with the newest imported secret, or with a dummy hash. It runs on
    /// another thread, few at a time. A match is cached, so that only the first use of a valid secret is
    /// slow.
    pub async fn find_match<'a>(
        &self,
        presented: &str,
        credentials: &'a [Credential],
        now: SystemTime,
    ) -> Option<&'a Credential> {
        let mut found = None;
        for pepper in self.all() {
            let tag = pepper.mac(presented);
            for credential in credentials.iter().filter(|credential| credential.is_live(now)) {
                if let CredentialKind::Secret(SecretHash::Hmac { pepper_id, mac, .. }) = &credential.kind
                    && pepper.id() == pepper_id
                    && bool::from(tag.as_ref().ct_eq(mac))
                {
                    found = Some(credential);
                }
            }
        }
        match &self.imported {
            Some(imported) if found.is_none() && ClientSecret::parse(presented).is_err() => {
                let newest = credentials.iter().rev().filter(|credential| credential.is_live(now)).find_map(slow);
                let passed = Box::pin(imported.verify(presented, newest.map(|(_, phc)| phc))).await;
                newest.filter(|_| passed).map(|(credential, _)| credential)
            }
            Some(_) | None => found,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Pepper> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

/// The credential and its slow hash, if it has one.
fn slow(credential: &Credential) -> Option<(&Credential, &str)> {
    match &credential.kind {
        CredentialKind::Secret(SecretHash::Argon2id { phc }) => Some((credential, phc)),
        CredentialKind::Secret(SecretHash::Hmac { .. })
        | CredentialKind::PublicKey(_)
        | CredentialKind::FederatedIdentity(_) => None,
    }
}

fn write_mac<S: Serializer>(mac: &[u8; MAC_BYTES], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&URL_SAFE_NO_PAD.encode(mac))
}

fn read_mac<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; MAC_BYTES], D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(D::Error::custom)?;
    bytes.try_into().map_err(|_| D::Error::custom("a hash is 32 bytes"))
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hmac { prefix, pepper_id, .. } => {
                f.debug_struct("Hmac").field("prefix", prefix).field("pepper_id", pepper_id).finish_non_exhaustive()
            }
            Self::Argon2id { .. } => f.write_str("Argon2id(…)"),
        }
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pepper").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn pepper(byte: u8) -> Pepper {
        Pepper::new(&KeyMaterial::from_bytes([byte; 32]))
    }

    fn credential(id: &str, hash: SecretHash) -> Credential {
        Credential {
            id: id.to_owned(),
            kind: CredentialKind::Secret(hash),
            create_time: NOW,
            expire_time: None,
            last_used_time: None,
        }
    }

    #[test]
    fn matches_the_secret_and_no_other() {
        let peppers = Peppers::new(pepper(1), vec![]);
        let secret = ClientSecret::generate().unwrap();
        let hash = peppers.hash(&secret);
        assert!(peppers.matches(secret.expose(), &hash));
        assert!(!peppers.matches(ClientSecret::generate().unwrap().expose(), &hash));
        assert!(!peppers.matches("", &hash));
    }

    #[test]
    fn a_secret_hashed_under_an_older_pepper_is_known_while_that_pepper_is() {
        let secret = ClientSecret::generate().unwrap();
        let hash = Peppers::new(pepper(1), vec![]).hash(&secret);
        assert!(Peppers::new(pepper(2), vec![pepper(1)]).matches(secret.expose(), &hash));
        assert!(!Peppers::new(pepper(2), vec![]).matches(secret.expose(), &hash));
    }

    #[tokio::test]
    async fn finds_the_matching_credential_among_several() {
        let peppers = Peppers::new(pepper(2), vec![pepper(1)]);
        let (old, new) = (ClientSecret::generate().unwrap(), ClientSecret::generate().unwrap());
        let older = Peppers::new(pepper(1), vec![]);
        let credentials = [credential("old", older.hash(&old)), credential("new", peppers.hash(&new))];
        let id = async |secret: &str| peppers.find_match(secret, &credentials, NOW).await.map(|c| c.id.as_str());
        assert_eq!(id(old.expose()).await, Some("old"));
        assert_eq!(id(new.expose()).await, Some("new"));
        assert_eq!(id("tks_wrong").await, None);
    }

    #[tokio::test]
    async fn an_expired_credential_matches_no_more() {
        let peppers = Peppers::new(pepper(1), vec![]);
        let secret = ClientSecret::generate().unwrap();
        let mut credential = credential("a", peppers.hash(&secret));
        credential.expire_time = Some(NOW + Duration::from_secs(1));
        let credentials = [credential];
        assert!(peppers.find_match(secret.expose(), &credentials, NOW).await.is_some());
        let later = NOW + Duration::from_secs(1);
        assert!(peppers.find_match(secret.expose(), &credentials, later).await.is_none());
    }

    #[tokio::test]
    async fn an_imported_secret_is_matched_by_its_slow_hash_where_such_are_accepted() {
        let peppers = Peppers::new(pepper(1), vec![]);
        let credentials = [credential("legacy", Peppers::hash_imported("hunter2").unwrap())];
        assert!(peppers.find_match("hunter2", &credentials, NOW).await.is_none());
        let peppers = peppers.accept_imported().unwrap();
        for _ in 0..2 {
            assert!(peppers.find_match("hunter2", &credentials, NOW).await.is_some());
            assert!(peppers.find_match("hunter3", &credentials, NOW).await.is_none());
        }
    }

    #[test]
    fn a_hash_survives_storing() {
        let hash = Peppers::new(pepper(1), vec![]).hash(&ClientSecret::generate().unwrap());
        let stored = serde_json::to_string(&hash).unwrap();
        assert_eq!(serde_json::from_str::<SecretHash>(&stored).unwrap(), hash);
        assert!(serde_json::from_str::<SecretHash>(r#"{"hmac":{"prefix":"","pepper_id":"","mac":"AA"}}"#).is_err());
    }

    #[test]
    fn debug_shows_neither_hash_nor_pepper() {
        let peppers = Peppers::new(pepper(1), vec![]);
        let hash = peppers.hash(&ClientSecret::generate().unwrap());
        let SecretHash::Hmac { mac, .. } = &hash else { panic!("made here") };
        let shown = format!("{hash:?} {peppers:?}");
        assert!(!shown.contains(&URL_SAFE_NO_PAD.encode(mac)) && !shown.contains(&format!("{mac:?}")), "{shown}");
        let imported = Peppers::hash_imported("hunter2").unwrap();
        assert_eq!(format!("{imported:?}"), "Argon2id(…)");
    }
}
