//! The policy as plain values: the requirement of each method, from the `m2m.auth.v1` annotations.
//!
//! An application's build script writes them into a static table ([`crate::include_policy!`]). With the
//! feature `descriptor`, a program reads the same values from an encoded descriptor set:
//! `token_proto::descriptor`.

use std::{borrow::Cow, time::Duration};

/// One method and its requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MethodPolicy {
    /// The path of its requests: `/package.Service/Method`.
    pub path: Cow<'static, str>,
    /// The `aud` that a token must have and that clients request.
    pub audience: Cow<'static, str>,
    /// The allowed callers.
    pub access: Access,
    /// The sides of a call that send a stream.
    pub kind: MethodKind,
}

/// The sides of a call that send a stream, as gRPC names them. Exhaustive: gRPC has these four kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodKind {
    /// One message each way.
    Unary,
    /// One request message, and a stream as the response.
    ServerStreaming,
    /// A stream as the request, and one response message.
    ClientStreaming,
    /// A stream each way.
    BidirectionalStreaming,
}

/// The callers that may use a method. Exhaustive: a layer that does not know a kind must not compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Neither the method nor its service declares a policy. Every call is denied.
    Undeclared,
    /// Every caller, without a token.
    Public,
    /// Every caller. A token that comes is verified, so that the handler knows its caller.
    Identify,
    /// Callers with a token that meets the requirement.
    Require(Requirement),
}

/// The requirement on a verified token: `m2m.auth.v1.Requirement` as a plain value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Requirement {
    /// The scopes that a token must have.
    pub all_scopes: Cow<'static, [Cow<'static, str>]>,
    /// Scopes of which a token must have at least one. Empty: none is required.
    pub any_scopes: Cow<'static, [Cow<'static, str>]>,
    /// The client IDs that may call. A final `*` matches any ending. Empty: any client.
    pub callers: Cow<'static, [Cow<'static, str>]>,
    /// The maximum age of a token. An older token is rejected.
    pub max_token_age: Option<Duration>,
    /// The fate of an open stream when its token expires.
    pub stream_expiry: StreamExpiry,
    /// The claims that a token must have. It must meet each of them.
    pub claims: Cow<'static, [ClaimRequirement]>,
}

/// A claim and its allowed values: `m2m.auth.v1.ClaimRequirement` as a plain value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimRequirement {
    /// The name of the claim. If it begins with `/`, a JSON Pointer (RFC 6901) into the claims.
    pub claim: Cow<'static, str>,
    /// The allowed values. The claim must be one of these strings, or a list that contains one.
    pub values: Cow<'static, [Cow<'static, str>]>,
}

/// The fate of an open stream when its token expires. Exhaustive: a layer that does not know a fate must not
/// compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamExpiry {
    /// The stream ends with `UNAUTHENTICATED` / `TOKEN_EXPIRED`. So does an unanswered call whose client
    /// sends a stream.
    Close,
    /// The stream continues. It was authorized when it began.
    Allow,
}

impl MethodPolicy {
    /// Creates the policy of the method with this path: `/package.Service/Method`.
    #[must_use]
    pub const fn new(path: Cow<'static, str>, audience: Cow<'static, str>, access: Access, kind: MethodKind) -> Self {
        Self { path, audience, access, kind }
    }
}

impl MethodKind {
    /// Returns the kind of a method by the sides that send a stream.
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
    /// Returns a requirement of all these scopes.
    ///
    /// ```
    /// use token_proto::policy::Requirement;
    ///
    /// assert_eq!(Requirement::all_of(["notes.read"]).all_scopes.first().unwrap(), "notes.read");
    /// ```
    #[must_use]
    pub fn all_of<T: Into<Cow<'static, str>>>(scopes: impl IntoIterator<Item = T>) -> Self {
        Self { all_scopes: scopes.into_iter().map(Into::into).collect(), ..Self::any_token() }
    }

    /// Creates a requirement from all its parts, in the order of the fields. The policy table is written so.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "one for each field; the generated table alone calls it")]
    pub const fn new(
        all_scopes: Cow<'static, [Cow<'static, str>]>,
        any_scopes: Cow<'static, [Cow<'static, str>]>,
        callers: Cow<'static, [Cow<'static, str>]>,
        max_token_age: Option<Duration>,
        stream_expiry: StreamExpiry,
        claims: Cow<'static, [ClaimRequirement]>,
    ) -> Self {
        Self { all_scopes, any_scopes, callers, max_token_age, stream_expiry, claims }
    }

    /// Demands every one of these scopes.
    #[must_use]
    pub fn with_all_scopes<T: Into<Cow<'static, str>>>(mut self, scopes: impl IntoIterator<Item = T>) -> Self {
        self.all_scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Demands one of these scopes at least.
    #[must_use]
    pub fn with_any_scopes<T: Into<Cow<'static, str>>>(mut self, scopes: impl IntoIterator<Item = T>) -> Self {
        self.any_scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Admits these clients only: client IDs, or prefixes and a final `*`.
    #[must_use]
    pub fn with_callers<T: Into<Cow<'static, str>>>(mut self, callers: impl IntoIterator<Item = T>) -> Self {
        self.callers = callers.into_iter().map(Into::into).collect();
        self
    }

    /// Refuses a token that was issued longer ago than `age`.
    #[must_use]
    pub const fn with_max_token_age(mut self, age: Duration) -> Self {
        self.max_token_age = Some(age);
        self
    }

    /// Demands one of these values of a claim, besides the claims that are demanded already. Any issuer that
    /// the server trusts for the audience can write any claim, so a server that trusts several limits the
    /// values of each.
    #[must_use]
    pub fn with_claim<T: Into<Cow<'static, str>>>(
        mut self,
        claim: impl Into<Cow<'static, str>>,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.claims.to_mut().push(ClaimRequirement::new(claim.into(), values));
        self
    }

    /// Sets the fate of an open stream when its token expires.
    #[must_use]
    pub const fn with_stream_expiry(mut self, stream_expiry: StreamExpiry) -> Self {
        self.stream_expiry = stream_expiry;
        self
    }

    /// Returns a requirement that any valid token for the audience meets.
    #[must_use]
    pub const fn any_token() -> Self {
        Self {
            all_scopes: Cow::Borrowed(&[]),
            any_scopes: Cow::Borrowed(&[]),
            callers: Cow::Borrowed(&[]),
            max_token_age: None,
            stream_expiry: StreamExpiry::Close,
            claims: Cow::Borrowed(&[]),
        }
    }
}

impl ClaimRequirement {
    /// Creates a requirement from the claim's name or JSON Pointer, and its allowed values.
    #[must_use]
    pub const fn new(claim: Cow<'static, str>, values: Cow<'static, [Cow<'static, str>]>) -> Self {
        Self { claim, values }
    }

    /// Returns the fault of the requirement, if it has one. The scopes and the client of a token have fields
    /// of their own, which know the limits of each issuer. A demand with a fault is met by no token.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let claim = &self.claim;
        let name = claim.strip_prefix('/').map_or(&**claim, |path| path.split('/').next().unwrap_or_default());
        if self.values.is_empty() {
            return Some(format!("the claim {claim:?} has no allowed values, so no token could meet it"));
        }
        match name {
            "" => Some(format!("{claim:?} is not the name of a claim")),
            "scope" | "scp" => Some(format!("{claim:?}: use all_scopes or any_scopes")),
            "client_id" | "azp" | "cid" | "appid" => Some(format!("{claim:?}: use callers")),
            _ if claim.starts_with('/') && !is_pointer(claim) => {
                Some(format!("{claim:?} is not a JSON Pointer (RFC 6901): write ~ as ~0"))
            }
            _ => None,
        }
    }
}

/// RFC 6901 section 3: `~` stands only before 0 or 1.
fn is_pointer(text: &str) -> bool {
    text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}
