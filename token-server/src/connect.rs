//! The Connect protocol in its unary form: every method of the contract, as JSON or Protobuf over HTTP.
//! <https://connectrpc.com/docs/protocol>
//!
//! A request becomes the gRPC request that says the same. The layers and services of gRPC decide and answer,
//! and the answer is translated back. Nothing is decided here.
//!
//! | step | module |
//! |---|---|
//! | the methods and their messages | `contract` |
//! | JSON ↔ Protobuf | `message` |
//! | a refusal, in Connect's JSON | `error` |
//! | the HTTP request → the gRPC request | `query`, `request`, `body` |
//! | the gRPC answer → the HTTP answer | `answer` |
//! | the layer around the services | `layer` |

mod contract;
mod message;
mod error;
mod query;
mod request;
mod body;
mod answer;
mod layer;

pub(crate) use contract::is_method_path;
pub(crate) use error::{of_status, refused};
pub(crate) use layer::{Connect, ConnectLayer};

use http::HeaderValue;

/// The encoding of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Json,
    Proto,
}

impl Encoding {
    /// Returns the encoding of this name, as in `application/json` and `encoding=json`.
    fn named(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "proto" => Some(Self::Proto),
            _ => None,
        }
    }

    const fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json",
            Self::Proto => "application/proto",
        })
    }
}
