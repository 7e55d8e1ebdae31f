//! Credentials of declared clients. The file holds the location of a secret, never the secret.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Deserializer, Serialize, de};
use token_issuer::{
    client::{
        Credential, CredentialKind, PublicKeyJwk,
        secret::{ClientSecret, Peppers, SecretHash},
    },
    timestamp,
};
use token_proto::admin::v1;
use zeroize::Zeroizing;

/// The locations of values that a file names.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    /// The base of relative paths: the folder of the file of clients.
    pub(super) folder: &'a Path,
    /// The process's environment variables.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
}

impl fmt::Debug for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// `[[client.secret]]`: exactly one of `file`, `env` and `hash`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeclaredSecret {
    id: String,
    /// A file that holds the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// A variable that holds the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env: Option<String>,
    /// The hash that `client new-secret` prints with the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<SecretHash>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_time")]
    expires: Option<SystemTime>,
}

/// `[[client.key]]`: a public key for `private_key_jwt`, exactly one of `jwk` and `file`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeclaredKey {
    id: String,
    /// The JWK, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jwk: Option<String>,
    /// A file that holds the JWK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "humantime_time")]
    expires: Option<SystemTime>,
}

impl DeclaredSecret {
    pub(super) fn hashed(id: &str, hash: SecretHash, expires: Option<SystemTime>) -> Self {
        Self { id: id.to_owned(), file: None, env: None, hash: Some(hash), expires }
    }

    /// The hash of a secret that another issuer generated.
    pub(super) fn imported(&self) -> Option<&SecretHash> {
        self.hash.as_ref().filter(|hash| matches!(hash, SecretHash::Argon2id { .. }))
    }

    /// The credential for the admin API, which takes no secret but an imported one.
    pub(super) fn to_proto(&self) -> Result<v1::Credential, String> {
        match (self.imported(), &self.file, &self.env) {
            (Some(SecretHash::Argon2id { phc }), None, None) => {
                let secret = v1::Secret { imported_hash: phc.clone(), ..v1::Secret::default() };
                Ok(v1::Credential {
                    kind: Some(v1::credential::Kind::Secret(secret)),
                    expire_time: self.expires.map(Into::into),
                    ..v1::Credential::default()
                })
            }
            _ => Err(format!("secret {:?}: only a file that is the store may contain it", self.id)),
        }
    }

    pub(super) fn credential(&self, places: Places<'_>, peppers: &Peppers) -> Result<Credential, String> {
        let id = &self.id;
        let hash = match (&self.file, &self.env, &self.hash) {
            (Some(file), None, None) => hash(&read(file, places)?, peppers),
            (None, Some(name), None) => {
                let text = (places.variable)(name).ok_or_else(|| format!("secret {id:?}: no variable {name}"))?;
                hash(&Zeroizing::new(text), peppers)
            }
            (None, None, Some(SecretHash::Argon2id { phc })) => peppers.import(phc).map_err(|error| error.to_string()),
            (None, None, Some(hash @ SecretHash::Hmac { .. })) => Ok(hash.clone()),
            _ => Err("exactly one of file, env and hash is required".to_owned()),
        };
        let hash = hash.map_err(|problem| format!("secret {id:?}: {problem}"))?;
        if let SecretHash::Hmac { pepper_id, .. } = &hash
            && !peppers.ids().any(|known| known == pepper_id)
        {
            return Err(format!("secret {id:?}: it is hashed under a pepper that was not provided"));
        }
        credential(id, CredentialKind::Secret(hash), self.expires)
    }
}

impl DeclaredKey {
    pub(super) fn inline(id: &str, jwk: String) -> Self {
        Self { id: id.to_owned(), jwk: Some(jwk), file: None, expires: None }
    }

    /// The credential for the admin API.
    pub(super) fn to_proto(&self, places: Places<'_>) -> Result<v1::Credential, String> {
        Ok(v1::Credential {
            kind: Some(v1::credential::Kind::PublicKey(v1::PublicKey { jwk: self.text(places)?.to_string() })),
            expire_time: self.expires.map(Into::into),
            ..v1::Credential::default()
        })
    }

    pub(super) fn credential(&self, places: Places<'_>) -> Result<Credential, String> {
        let id = &self.id;
        let jwk = self.text(places)?;
        let jwk = PublicKeyJwk::register(&jwk).map_err(|error| format!("key {id:?}: {error}"))?;
        credential(id, CredentialKind::PublicKey(jwk), self.expires)
    }

    fn text(&self, places: Places<'_>) -> Result<Zeroizing<String>, String> {
        match (&self.jwk, &self.file) {
            (Some(jwk), None) => Ok(Zeroizing::new(jwk.clone())),
            (None, Some(file)) => read(file, places),
            _ => Err(format!("key {:?}: exactly one of jwk and file is required", self.id)),
        }
    }
}

/// Hashes a secret. The result is the same for each read, so that no change is detected. Guessable secrets
/// are hashed in advance, once.
fn hash(text: &str, peppers: &Peppers) -> Result<SecretHash, String> {
    let secret = ClientSecret::parse(text.trim()).map_err(|error| {
        format!(
            "{error}; generate one with `token-server client new-secret`, or give an imported one as an argon2id hash"
        )
    })?;
    Ok(peppers.hash(&secret))
}

fn read(file: &Path, places: Places<'_>) -> Result<Zeroizing<String>, String> {
    let path = places.folder.join(file);
    let read = std::fs::read_to_string(&path);
    read.map(Zeroizing::new).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

pub(super) fn credential(id: &str, kind: CredentialKind, expires: Option<SystemTime>) -> Result<Credential, String> {
    if id.is_empty() || id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{id:?} is not a credential ID: 1 to 64 printable characters"));
    }
    let expire_time = expires.map(timestamp::stored);
    // The file does not record a creation time; the store does.
    let create_time = SystemTime::UNIX_EPOCH;
    Ok(Credential { id: id.to_owned(), kind, create_time, expire_time, last_used_time: None })
}

/// Reads a list of locations of secrets. A secret in the list is rejected, and the error does not repeat it.
pub(super) fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<DeclaredSecret>, D::Error> {
    struct List;

    impl<'de> de::Visitor<'de> for List {
        type Value = Vec<DeclaredSecret>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("[[client.secret]] with an id and a file, env or hash")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut secrets = Vec::new();
            while let Some(secret) = items.next_element()? {
                secrets.push(secret);
            }
            Ok(secrets)
        }

        fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
            Err(E::custom("a secret does not belong in this file; [[client.secret]] names a file, env or hash"))
        }
    }
    deserializer.deserialize_any(List)
}

/// Times in RFC 3339.
pub(super) mod humantime_time {
    use std::time::SystemTime;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[expect(clippy::ref_option, reason = "the shape that serde asks for")]
    pub(in crate::client_file) fn serialize<S: Serializer>(
        time: &Option<SystemTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.collect_str(&humantime::format_rfc3339_seconds(*time)),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::client_file) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339_weak(&text).map(Some).map_err(D::Error::custom)
    }
}
