//! The part of Envoy's external authorization protocol (ext_authz) that is spoken here: generated from
//! `token-server/proto`, which is Envoy's contract and not ours. What carries header fields is censored in `Debug`.

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
