//! The caller as an argument of axum's handlers, and denials as their errors.

use std::convert::Infallible;

use axum_core::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::request::Parts;

use crate::{
    caller::Caller,
    error::{Denial, Denied},
    status::Answer,
};

/// Rejects a request that passed no layer, and a request without a token to an open route.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Denied> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Denial::CredentialsMissing.into())
    }
}

/// `None` for an anonymous caller.
impl<S: Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

/// The answer that the layer would give.
impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        Answer::from(&self).into_http().map(Body::new)
    }
}
