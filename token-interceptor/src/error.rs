//! The errors of a rejected request: one closed list. What the caller sees is kept apart from what is logged.
//!
//! The [`ErrorReason`] goes to the caller, with a fixed sentence ([`crate::status`]). The `Display` text is
//! for the log alone. Neither ever holds a token. The log names the member that failed a check, in a
//! [`Detail`].

mod denied;

use std::{borrow::Cow, fmt, time::Duration};

use serde_json::Value;
use token_proto::token::v1::ErrorReason;

pub(crate) use denied::Denial;
pub use denied::Denied;

/// The longest text of a token that a [`Detail`] quotes, in characters. An issuer URL fits.
const QUOTED_MAX: usize = 96;

/// The reason a token was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyError {
    kind: Unverified,
    /// Boxed to keep every verification's `Result` small.
    detail: Option<Box<Detail>>,
}

/// The member of a rejected token that a check compared. For logs and audit records, never for the caller.
///
/// It quotes `iss`, `aud`, `client_id`, `scope`, `typ`, `alg`, `kid`, `jti`, times, and the claims that a
/// profile demands a value of, escaped and cut. It never holds the token. Of every other member it names only
/// the JSON type, as the value may be personal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    name: Cow<'static, str>,
    came: String,
    expected: String,
}

impl Detail {
    pub(crate) fn new(name: impl Into<Cow<'static, str>>, came: String, expected: impl Into<String>) -> Self {
        Self { name: name.into(), came, expected: expected.into() }
    }

    /// Returns the claim or header parameter; `token` where the token as a whole was rejected.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the value in the token, escaped and cut, or its JSON type; `nothing` where the member is
    /// missing.
    #[must_use]
    pub fn came(&self) -> &str {
        &self.came
    }

    /// Returns the value that this verifier accepts.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.expected
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, expected {}", self.name, self.came, self.expected)
    }
}

/// The closed list behind [`VerifyError`], in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unverified {
    /// Longer than any token may be. It is not parsed.
    TooLarge,
    /// Not a compact JWS of two JSON objects, or a member of the wrong type. The text names the fault.
    Malformed(&'static str),
    /// `alg` is `none`, symmetric, unknown, not allowed for the issuer, or not the key's own.
    AlgorithmNotAllowed,
    /// A header parameter that is never accepted: `crit`, an embedded key, an address of a key.
    HeaderNotAllowed(&'static str),
    /// `iss` is not an issuer that this verifier trusts.
    IssuerUnknown,
    /// The issuer publishes no key with this `kid`.
    KeyUnknown,
    /// The key set is unreachable, so the verifier cannot know if the issuer has this key.
    KeyUnavailable { retry_after: Duration },
    /// The key did not make this signature over this header and these claims.
    SignatureInvalid,
    /// `typ` is not an access token's.
    TypeNotAllowed,
    /// A claim by which the issuer tells its kinds of token apart has another value.
    ClaimNotAllowed,
    /// Lives longer than the issuer's tokens may.
    LifetimeTooLong,
    /// Issued for another audience.
    AudienceMismatch,
    /// `exp` has passed, leeway included.
    Expired,
    /// `nbf` is in the future.
    NotYetValid,
    /// `iat` is in the future.
    IssuedInFuture,
    /// Bound to a key of the sender's (`cnf`), whose possession was not proved: RFC 8705, RFC 9449 section
    /// 7.1.
    SenderConstrained,
    /// Encrypted, and none of the verifier's own keys decrypts it. The text says why.
    NotDecryptable(&'static str),
    /// Not encrypted, where only encrypted tokens are accepted.
    NotEncrypted,
    /// Issued to a client that this issuer may not issue tokens for.
    ClientNotTrusted,
    /// Revoked by its owner or by an operator.
    Revoked,
}

impl VerifyError {
    /// Returns the reason that the caller sees.
    #[must_use]
    pub fn reason(&self) -> ErrorReason {
        match self.kind {
            Unverified::TooLarge
            | Unverified::Malformed(_)
            | Unverified::AlgorithmNotAllowed
            | Unverified::HeaderNotAllowed(_)
            | Unverified::IssuerUnknown
            | Unverified::SignatureInvalid
            | Unverified::TypeNotAllowed
            | Unverified::ClaimNotAllowed
            | Unverified::LifetimeTooLong
            | Unverified::NotYetValid
            | Unverified::IssuedInFuture
            | Unverified::SenderConstrained
            | Unverified::NotDecryptable(_)
            | Unverified::NotEncrypted => ErrorReason::TokenInvalid,
            Unverified::KeyUnknown => ErrorReason::TokenKeyUnknown,
            Unverified::AudienceMismatch => ErrorReason::TokenAudienceMismatch,
            Unverified::Expired => ErrorReason::TokenExpired,
            Unverified::ClientNotTrusted => ErrorReason::CallerNotAllowed,
            Unverified::Revoked => ErrorReason::TokenRevoked,
            Unverified::KeyUnavailable { .. } => ErrorReason::TrustUnavailable,
        }
    }

    /// Returns true if the same token may be accepted later: the verifier could not reach a verdict.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.retry_after().is_some()
    }

    /// Returns true if the token is valid for another audience.
    #[must_use]
    pub fn is_audience_mismatch(&self) -> bool {
        self.kind == Unverified::AudienceMismatch
    }

    /// Returns the time to wait before a retry, if a retry may help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.kind {
            Unverified::KeyUnavailable { retry_after } => Some(retry_after),
            Unverified::TooLarge
            | Unverified::Malformed(_)
            | Unverified::AlgorithmNotAllowed
            | Unverified::HeaderNotAllowed(_)
            | Unverified::IssuerUnknown
            | Unverified::KeyUnknown
            | Unverified::SignatureInvalid
            | Unverified::TypeNotAllowed
            | Unverified::ClaimNotAllowed
            | Unverified::LifetimeTooLong
            | Unverified::AudienceMismatch
            | Unverified::Expired
            | Unverified::NotYetValid
            | Unverified::IssuedInFuture
            | Unverified::SenderConstrained
            | Unverified::NotDecryptable(_)
            | Unverified::NotEncrypted
            | Unverified::ClientNotTrusted
            | Unverified::Revoked => None,
        }
    }

    /// Returns the name of the failed check, for metrics: one of a closed set.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self.kind {
            Unverified::TooLarge => "too_large",
            Unverified::Malformed(_) => "malformed",
            Unverified::AlgorithmNotAllowed => "algorithm",
            Unverified::HeaderNotAllowed(_) => "header",
            Unverified::IssuerUnknown => "issuer",
            Unverified::KeyUnknown => "key_unknown",
            Unverified::KeyUnavailable { .. } => "key_unavailable",
            Unverified::SignatureInvalid => "signature",
            Unverified::TypeNotAllowed => "type",
            Unverified::ClaimNotAllowed => "profile",
            Unverified::LifetimeTooLong => "lifetime",
            Unverified::AudienceMismatch => "audience",
            Unverified::Expired => "expired",
            Unverified::NotYetValid => "not_yet_valid",
            Unverified::IssuedInFuture => "issued_in_future",
            Unverified::SenderConstrained => "sender_constrained",
            Unverified::NotDecryptable(_) => "decryption",
            Unverified::NotEncrypted => "not_encrypted",
            Unverified::ClientNotTrusted => "client",
            Unverified::Revoked => "revoked",
        }
    }
}

impl VerifyError {
    pub(crate) fn kind(&self) -> Unverified {
        self.kind
    }

    /// Returns the member of the token that the check compared, if any.
    #[must_use]
    pub fn detail(&self) -> Option<&Detail> {
        self.detail.as_deref()
    }
}

impl Unverified {
    /// Attaches the member that failed: its name, the value that came, and the expected value.
    pub(crate) fn about(
        self,
        name: impl Into<Cow<'static, str>>,
        came: String,
        expected: impl Into<String>,
    ) -> VerifyError {
        VerifyError { kind: self, detail: Some(Box::new(Detail::new(name, came, expected))) }
    }
}

/// Returns a member's text for a [`Detail`]: quoted, escaped and cut, as an attacker may have written it.
pub(crate) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// Returns a member for a [`Detail`]: its JSON type, never its value.
pub(crate) fn kind_of(value: Option<&Value>) -> String {
    let kind = match value {
        None => "nothing",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "a boolean",
        Some(Value::Number(_)) => "a number",
        Some(Value::String(text)) if text.is_empty() => "an empty string",
        Some(Value::String(_)) => "a string",
        Some(Value::Array(_)) => "an array",
        Some(Value::Object(_)) => "an object",
    };
    kind.to_owned()
}

impl From<Unverified> for VerifyError {
    fn from(kind: Unverified) -> Self {
        Self { kind, detail: None }
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        self.detail.as_ref().map_or(Ok(()), |detail| write!(f, " ({detail})"))
    }
}

impl fmt::Display for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("the token is too large"),
            Self::Malformed(fault) => write!(f, "the token is malformed: {fault}"),
            Self::AlgorithmNotAllowed => f.write_str("the token's algorithm is not allowed"),
            Self::HeaderNotAllowed(name) => write!(f, "the header parameter {name} is not accepted"),
            Self::IssuerUnknown => f.write_str("the token's issuer is not trusted"),
            Self::KeyUnknown => f.write_str("the issuer does not publish the token's key"),
            Self::KeyUnavailable { .. } => f.write_str("the issuer's key set is unreachable"),
            Self::SignatureInvalid => f.write_str("the signature is not valid"),
            Self::TypeNotAllowed => f.write_str("the token's typ is not an access token's"),
            Self::ClaimNotAllowed => f.write_str("a claim does not have the value that the issuer's profile demands"),
            Self::LifetimeTooLong => f.write_str("the token lives longer than the issuer's tokens may"),
            Self::AudienceMismatch => f.write_str("the token is for another audience"),
            Self::Expired => f.write_str("the token has expired"),
            Self::NotYetValid => f.write_str("the token is not valid yet"),
            Self::IssuedInFuture => f.write_str("the token was issued in the future"),
            Self::NotDecryptable(why) => write!(f, "the token cannot be decrypted: {why}"),
            Self::NotEncrypted => f.write_str("the token is not encrypted"),
            Self::SenderConstrained => f.write_str("the token is bound to a key whose possession was not proved"),
            Self::ClientNotTrusted => f.write_str("the issuer is not trusted to speak for the token's client"),
            Self::Revoked => f.write_str("the token was revoked"),
        }
    }
}

impl std::error::Error for VerifyError {}
