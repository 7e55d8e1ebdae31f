//! The policy as plain values: what each method demands, read from the `m2m.auth.v1` annotations.
//!
//! An application's build script writes them into a static table ([`crate::include_policy!`]); with the
//! feature `descriptor` the same values are read from any encoded descriptor set at run time.

use std::{borrow::Cow, time::Duration};

#[cfg(any(feature = "build", feature = "descriptor"))]
pub use crate::annotation::Error;

/// One method and what it demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodPolicy {
    /// The path of its requests: `/package.Service/Method`.
    pub path: Cow<'static, str>,
    /// The `aud` that a token must carry, and that clients ask for.
    pub audience: Cow<'static, str>,
    /// The callers that are allowed.
    pub access: Access,
    /// The sides of a call that send a stream.
    pub kind: MethodKind,
}

/// The sides of a call that send a stream, in gRPC's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// One message each way.
    Unary,
    /// One message is answered by a stream.
    ServerStreaming,
    /// A stream is answered by one message.
    ClientStreaming,
    /// A stream each way.
    BidirectionalStreaming,
}

/// The callers that may use a method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Neither the method nor its service declares a policy: every call is denied.
    Undeclared,
    /// Every caller, without a token.
    Public,
    /// Callers with a token that meets the requirement.
    Require(Requirement),
}

/// The demands on a verified token; the plain form of `m2m.auth.v1.Requirement`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Every one of these must have been granted.
    pub all_scopes: Cow<'static, [Cow<'static, str>]>,
    /// At least one of these must have been granted, where there are any.
    pub any_scopes: Cow<'static, [Cow<'static, str>]>,
    /// Client IDs that may call; a single trailing `*` is a prefix match. Empty: any.
    pub callers: Cow<'static, [Cow<'static, str>]>,
    /// A token issued longer ago than this is refused.
    pub max_token_age: Option<Duration>,
    /// The fate of an open stream when its token expires.
    pub stream_expiry: StreamExpiry,
}

/// The fate of an open stream when its token expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamExpiry {
    /// The stream ends with `UNAUTHENTICATED` / `TOKEN_EXPIRED`; where its client sends one, so does a call
    /// that was not answered yet.
    Close,
    /// The stream goes on: it was authorized when it began.
    Allow,
}

impl MethodKind {
    /// Of which sides send a stream.
    #[must_use]
    pub const fn new(client_streaming: bool, server_streaming: bool) -> Self {
        match (client_streaming, server_streaming) {
            (false, false) => Self::Unary,
            (false, true) => Self::ServerStreaming,
            (true, false) => Self::ClientStreaming,
            (true, true) => Self::BidirectionalStreaming,
        }
    }

    /// Returns true if the client sends a stream of any length.
    #[must_use]
    pub const fn is_client_streaming(self) -> bool {
        matches!(self, Self::ClientStreaming | Self::BidirectionalStreaming)
    }
}

impl Requirement {
    /// A good token for the audience, and nothing more.
    #[must_use]
    pub const fn any_token() -> Self {
        Self {
            all_scopes: Cow::Borrowed(&[]),
            any_scopes: Cow::Borrowed(&[]),
            callers: Cow::Borrowed(&[]),
            max_token_age: None,
            stream_expiry: StreamExpiry::Close,
        }
    }
}

/// Reads the policy of every service in an encoded `FileDescriptorSet` (imports included).
///
/// # Errors
///
/// When the bytes are not a descriptor set, or an annotation contradicts itself.
#[cfg(feature = "descriptor")]
pub fn from_descriptor_set(encoded: &[u8]) -> Result<Vec<MethodPolicy>, Error> {
    crate::annotation::read(encoded, |_| true)
}
