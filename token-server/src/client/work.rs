//! What a request costs, step by step, for a test to count.
//!
//! RFC 6749 section 10.10: how long an answer takes must not tell which client IDs exist. Wall time is noise and the
//! compiler's; the steps are ours. Each costly one says here that it is taken, as an event that is off unless somebody
//! listens; `tests/issue/work.rs` does, and finds the same steps for every way to fail.

/// The target of the events.
pub const TARGET: &str = "token_server::work";

/// A step that takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A request is decoded.
    Decoding,
    /// The client is looked for.
    Lookup,
    /// HMAC-SHA-256 of what was presented.
    KeyedHash,
    /// Argon2id of what was presented.
    SlowHash,
    /// A signature is checked.
    SignatureCheck,
}

impl Step {
    const fn name(self) -> &'static str {
        match self {
            Self::Decoding => "decoding",
            Self::Lookup => "lookup",
            Self::KeyedHash => "keyed_hash",
            Self::SlowHash => "slow_hash",
            Self::SignatureCheck => "signature_check",
        }
    }
}

/// Says that the step is taken.
pub(crate) fn takes(step: Step) {
    tracing::trace!(target: TARGET, step = step.name());
}
