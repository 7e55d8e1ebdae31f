//! The error of a server that cannot start.

use std::{io, net::SocketAddr};

use super::transport::tls::TlsError;

use token_issuer::{client_registry::peppers_in_use::WrongPepper, key::SigningKeyError, store::StoreError};

use crate::client_file::DeclaredError;

/// The error of a server that cannot start.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ServeError(#[from] Kind);

#[derive(Debug, thiserror::Error)]
enum Kind {
    #[error("cannot listen on {address}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("the TLS certificates cannot be used")]
    Tls(#[from] TlsError),
    #[error("the store cannot be opened")]
    Store(#[from] StoreError),
    #[error("the clients cannot be read")]
    Clients(#[from] DeclaredError),
    #[error("the signing keys cannot be used")]
    Keys(#[from] SigningKeyError),
    #[error("the client secrets cannot be verified")]
    Pepper(#[from] WrongPepper),
    #[error("the server cannot be set up")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ServeError {
    pub(super) fn bind(address: SocketAddr, source: io::Error) -> Self {
        Kind::Bind { address, source }.into()
    }

    pub(crate) fn internal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Kind::Internal(error.into()).into()
    }

    /// Returns the address that another process already listens on, if that is the cause.
    #[must_use]
    pub fn address_in_use(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Bind { address, source } if source.kind() == io::ErrorKind::AddrInUse => Some(*address),
            Kind::Bind { .. }
            | Kind::Tls(_)
            | Kind::Store(_)
            | Kind::Clients(_)
            | Kind::Keys(_)
            | Kind::Pepper(_)
            | Kind::Internal(_) => None,
        }
    }
}

macro_rules! from_stage {
    ($($error:ty),*) => {$(
        impl From<$error> for ServeError {
            fn from(error: $error) -> Self {
                Kind::from(error).into()
            }
        }
    )*};
}
from_stage!(TlsError, StoreError, DeclaredError, SigningKeyError, WrongPepper);
