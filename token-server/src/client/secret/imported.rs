//! Imported secrets, which may be guessable: Argon2id, RFC 9106.

use std::fmt;

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use quick_cache::sync::Cache;
use ring::{
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use tokio::sync::Semaphore;

use super::ClientSecret;
use crate::client::work::{Step, takes};

/// The longest imported secret, in bytes.
const SECRET_BYTES_MAX: usize = 1024;
/// Slow hashes in flight. With more, a caller who knows a client ID could occupy every core.
const AT_ONCE: usize = 1;
/// Imported secrets whose slow check is cached.
const REMEMBERED_MAX: usize = 10_000;

/// The reason why a secret cannot be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// Empty or too long.
    #[error("an imported secret has 1 to {SECRET_BYTES_MAX} bytes")]
    Length,
    /// The secret has this server's form, so it does not come from elsewhere.
    #[error("a secret of the form that this server makes is not imported")]
    OwnForm,
    /// The Argon2 library returned an error.
    #[error("hashing the secret failed")]
    HashingFailed,
}

pub(super) fn hash(secret: &str) -> Result<String, ImportError> {
    if secret.is_empty() || secret.len() > SECRET_BYTES_MAX {
        return Err(ImportError::Length);
    }
    if ClientSecret::parse(secret).is_ok() {
        return Err(ImportError::OwnForm);
    }
    let hash = Argon2::default().hash_password(secret.as_bytes()).map_err(|_| ImportError::HashingFailed)?;
    Ok(hash.to_string())
}

pub(super) fn verify(presented: &str, phc: &str) -> bool {
    presented.len() <= SECRET_BYTES_MAX
        && PasswordHash::new(phc)
            .is_ok_and(|hash| Argon2::default().verify_password(presented.as_bytes(), &hash).is_ok())
}

/// Secrets that passed the slow check. Each is stored as an HMAC under a key that this process generates and
/// never stores.
pub(super) struct Remembered {
    key: Option<hmac::Key>,
    passed: Cache<[u8; 32], ()>,
    slow: Semaphore,
    /// The dummy hash, for clients without an imported secret.
    nobodys: String,
}

impl Remembered {
    /// # Errors
    ///
    /// When the system has no randomness.
    pub(super) fn new() -> Result<Self, ImportError> {
        let mut random = [0; 16];
        SystemRandom::new().fill(&mut random).map_err(|_| ImportError::HashingFailed)?;
        Ok(Self {
            key: hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok(),
            passed: Cache::new(REMEMBERED_MAX),
            slow: Semaphore::new(AT_ONCE),
            nobodys: hash(&random.iter().map(|byte| format!("{byte:02x}")).collect::<String>())?,
        })
    }

    /// Returns true if `presented` is the secret of `phc`. Without `phc` it returns false after the same
    /// work.
    pub(super) async fn verify(&self, presented: &str, phc: Option<&str>) -> bool {
        let exists = phc.is_some();
        let phc = phc.unwrap_or(&self.nobodys);
        let fingerprint = self.fingerprint(presented, phc);
        if fingerprint.is_some_and(|fingerprint| self.passed.get(&fingerprint).is_some()) {
            return exists;
        }
        takes(Step::SlowHash);
        let Ok(_permit) = self.slow.acquire().await else { return false };
        let (text, phc) = (zeroize::Zeroizing::new(presented.to_owned()), phc.to_owned());
        let passed = exists & tokio::task::spawn_blocking(move || verify(&text, &phc)).await.unwrap_or(false);
        if passed && let Some(fingerprint) = fingerprint {
            self.passed.insert(fingerprint, ());
        }
        passed
    }

    fn fingerprint(&self, presented: &str, phc: &str) -> Option<[u8; 32]> {
        let mut context = hmac::Context::with_key(self.key.as_ref()?);
        // A PHC string has no zero byte, so the boundary between the two parts is unambiguous.
        context.update(phc.as_bytes());
        context.update(&[0]);
        context.update(presented.as_bytes());
        context.sign().as_ref().try_into().ok()
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifies_the_secret_and_no_other() {
        let phc = hash("hunter2").unwrap();
        assert!(phc.starts_with("$argon2id$"));
        assert!(verify("hunter2", &phc));
        assert!(!verify("hunter3", &phc));
        assert!(!verify("hunter2", "not a hash"));
    }

    #[test]
    fn rejects_an_empty_and_an_overlong_secret() {
        assert_eq!(hash("").unwrap_err(), ImportError::Length);
        assert_eq!(hash(&"x".repeat(SECRET_BYTES_MAX + 1)).unwrap_err(), ImportError::Length);
    }

    #[test]
    fn passed_checks_stay_within_their_capacity() {
        let remembered = Remembered::new().unwrap();
        for n in 0..3 * REMEMBERED_MAX {
            // Skips the slow hash, which would only slow the test down.
            remembered.passed.insert(remembered.fingerprint(&n.to_string(), "phc").unwrap(), ());
        }
        assert!(remembered.passed.len() <= REMEMBERED_MAX);
    }

    #[tokio::test]
    async fn nobodys_secret_is_none() {
        let remembered = Remembered::new().unwrap();
        assert!(!remembered.verify("hunter2", None).await);
        assert_eq!(remembered.passed.len(), 0);
    }

    #[test]
    fn a_secret_of_this_servers_form_is_not_imported() {
        let own = ClientSecret::generate().unwrap();
        assert_eq!(hash(own.expose()).unwrap_err(), ImportError::OwnForm);
    }

    #[tokio::test]
    async fn a_passed_check_is_remembered_for_that_hash_only() {
        let remembered = Remembered::new().unwrap();
        let (phc, other) = (hash("hunter2").unwrap(), hash("other").unwrap());
        assert!(remembered.verify("hunter2", Some(&phc)).await);
        assert_eq!(remembered.passed.len(), 1);
        assert!(remembered.verify("hunter2", Some(&phc)).await);
        assert!(!remembered.verify("hunter2", Some(&other)).await);
        assert!(!remembered.verify("hunter3", Some(&phc)).await);
        assert_eq!(remembered.passed.len(), 1);
    }
}
