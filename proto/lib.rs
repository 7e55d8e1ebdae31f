//! The contract: the Protobuf definitions of the token service and of the policy annotations, and the Rust
//! code generated from them. It also has what an application needs to declare its own policy.
//!
//! | module | contents |
//! |---|---|
//! | [`token::v1`] | `m2m.token.v1`: `TokenService`, `TrustService`, error reasons |
//! | [`auth::v1`] | `m2m.auth.v1`: the annotations that declare the policy of a method |
//! | [`admin::v1`] | `m2m.admin.v1`: clients and signing keys |
//! | [`policy`] | the declared policy, as plain values |
//! | `descriptor` (feature) | the policy in a descriptor set, and the table of it |
//! | `build` (feature) | for build scripts: one call compiles an application's `.proto` files |

#[cfg(feature = "build")]
pub mod build;
mod codec;
#[cfg(any(feature = "build", feature = "descriptor"))]
pub mod descriptor;
pub mod policy;

/// `m2m.token`: tokens and trust.
pub mod token {
    /// `m2m.token.v1`.
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        clippy::restriction,
        reason = "generated code"
    )]
    pub mod v1 {
        tonic::include_proto!("m2m.token.v1");
    }
}

/// `m2m.auth`: the policy annotations.
pub mod auth {
    /// `m2m.auth.v1`.
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        clippy::restriction,
        reason = "generated code"
    )]
    pub mod v1 {
        tonic::include_proto!("m2m.auth.v1");
    }
}

/// `m2m.admin`: clients and signing keys.
pub mod admin {
    /// `m2m.admin.v1`.
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        clippy::restriction,
        reason = "generated code"
    )]
    pub mod v1 {
        tonic::include_proto!("m2m.admin.v1");
    }
}

/// The `google.rpc.ErrorInfo.domain` of every error of the token service and of the layers.
pub const ERROR_DOMAIN: &str = "m2m.token.v1";

/// The encoded descriptor set of this contract, with imports and custom options. Server reflection uses it.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_descriptor_set!();

/// The policy that this contract declares for its own services.
pub static POLICY: &[policy::MethodPolicy] = include_policy!();

/// The folder of the `.proto` files, for build scripts that call a Protobuf compiler themselves. The build
/// scripts of direct dependents also have it in `DEP_TOKEN_PROTO_INCLUDE`.
pub const PROTO_INCLUDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");

/// The policy table that `token_proto::build` or `token_proto::descriptor` wrote: a `&'static
/// [MethodPolicy]`.
///
/// ```ignore
/// pub static POLICY: &[token_proto::policy::MethodPolicy] = token_proto::include_policy!();
/// ```
#[macro_export]
macro_rules! include_policy {
    () => {
        include!(concat!(env!("OUT_DIR"), "/token_policy.rs"))
    };
}

/// The encoded descriptor set that `token_proto::build::compile` wrote: a `&'static [u8]`.
#[macro_export]
macro_rules! include_descriptor_set {
    () => {
        include_bytes!(concat!(env!("OUT_DIR"), "/token_descriptors.bin"))
    };
}

impl token::v1::ErrorReason {
    /// Returns the reason as in `google.rpc.ErrorInfo.reason`: the enum's name without its prefix.
    #[must_use]
    pub fn as_reason(self) -> &'static str {
        self.as_str_name().trim_start_matches("ERROR_REASON_")
    }
}
