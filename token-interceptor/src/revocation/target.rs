//! The entries of a revocation list, as hashes. The list travels to verifiers, so it must not name a client
//! or a token.

use std::{fmt, time::SystemTime};

use ring::digest;

use crate::clock::numeric_date;

/// The length of a hash, in bytes. A `jti` is random and as long, so it cannot be found from its hash. A
/// second name for a given hash takes 2^128 attempts. Two colliding names take 2^64 and do not help an
/// attacker: both are the attacker's own.
const HASH_BYTES: usize = 16;

/// The hash of the `jti` of a token, or of a client ID: the first 128 bits of SHA-256.
///
/// A reader of the list who guesses a client ID can confirm it by its hash. The reader learns only that
/// tokens of that client were revoked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetHash([u8; HASH_BYTES]);

impl TargetHash {
    /// The hash of the `jti` of one token: of `revoked token`, a zero byte, and the `jti`.
    #[must_use]
    pub fn of_token(token_id: &str) -> Self {
        Self::of("revoked token", token_id)
    }

    /// The hash of a client ID: of `revoked client`, a zero byte, and the client ID.
    #[must_use]
    pub fn of_client(client_id: &str) -> Self {
        Self::of("revoked client", client_id)
    }

    fn of(kind: &str, name: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [kind.as_bytes(), &[0], name.as_bytes()] {
            context.update(part);
        }
        Self::from_bytes(context.finish().as_ref().get(..HASH_BYTES).unwrap_or_default()).unwrap_or(Self([0; 16]))
    }

    /// Reads a hash as it travels; `None` unless it has 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The hash as it travels.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0
    }

    /// A number that selects its shard.
    pub(super) fn number(&self) -> usize {
        usize::from(self.0[0])
    }
}

impl fmt::Debug for TargetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One entry: a token, or every token of a client issued before a time. Times are in seconds since 1970
/// (RFC 7519 section 2, NumericDate).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The token or client.
    pub target: TargetHash,
    /// Tokens with an `iat` before this are revoked. [`Revoked::ALWAYS`] for a single token.
    pub issued_before: u64,
    /// The time from which the entry is no longer needed, because the tokens have expired.
    pub forget: u64,
}

impl Revoked {
    /// Later than any `iat`.
    pub const ALWAYS: u64 = u64::MAX;

    /// One token, which has expired at `forget_at`.
    #[must_use]
    pub fn token(token_id: &str, forget_at: SystemTime) -> Self {
        Self {
            target: TargetHash::of_token(token_id),
            issued_before: Self::ALWAYS,
            forget: numeric_date_after(forget_at),
        }
    }

    /// Every token of a client issued before a time, all of which have expired at `forget_at`.
    #[must_use]
    pub fn client(client_id: &str, issued_before: SystemTime, forget_at: SystemTime) -> Self {
        Self {
            target: TargetHash::of_client(client_id),
            issued_before: numeric_date_after(issued_before),
            forget: numeric_date_after(forget_at),
        }
    }
}

/// In whole seconds, as tokens count: a token of the second in which its client was revoked is revoked.
pub(crate) fn numeric_date_after(time: SystemTime) -> u64 {
    let part = time.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since.subsec_nanos() > 0);
    numeric_date(time).saturating_add(u64::from(part))
}
