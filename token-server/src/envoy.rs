//! The part of Envoy's external authorization protocol (ext_authz) that this server implements. The types are
//! generated from `token-server/proto`, which is Envoy's contract, not ours. `Debug` redacts the messages
//! with header fields.

/// `envoy.service`.
pub mod service {
    /// `envoy.service.auth`.
    pub mod auth {
        /// `envoy.service.auth.v3`.
        #[allow(
            missing_docs,
            unreachable_pub,
            clippy::all,
            clippy::pedantic,
            clippy::restriction,
            reason = "generated code"
        )]
        pub mod v3 {
            tonic::include_proto!("envoy.service.auth.v3");
        }
    }
}

/// `envoy.config`.
pub mod config {
    /// `envoy.config.core`.
    pub mod core {
        /// `envoy.config.core.v3`.
        #[allow(
            missing_docs,
            unreachable_pub,
            clippy::all,
            clippy::pedantic,
            clippy::restriction,
            reason = "generated code"
        )]
        pub mod v3 {
            tonic::include_proto!("envoy.config.core.v3");
        }
    }
}

/// `envoy.type`.
pub mod r#type {
    /// `envoy.type.v3`.
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::pedantic,
        clippy::restriction,
        reason = "generated code"
    )]
    pub mod v3 {
        tonic::include_proto!("envoy.r#type.v3");
    }
}
