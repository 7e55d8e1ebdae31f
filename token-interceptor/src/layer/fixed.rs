//! The refusals that are the same for every caller, built once. A flood of calls without a token consists of
//! them.

use std::sync::Arc;

use http::{HeaderMap, Response};
use tonic::body::Body;

use super::wire::Wire;
use crate::{
    error::{Denial, Denied},
    status::Answer,
};

/// The heads of the fixed refusals in gRPC.
#[derive(Clone, Debug)]
pub(super) struct Fixed {
    credentials_missing: HeaderMap,
    method_not_declared: HeaderMap,
}

impl Fixed {
    pub(super) fn new(resource_metadata: Option<&Arc<str>>) -> Self {
        let head = |denial: Denial| {
            let answer = Answer::from(&Denied::from(denial)).resource_metadata(resource_metadata.cloned());
            Wire::Grpc.answer(answer).into_parts().0.headers
        };
        Self {
            credentials_missing: head(Denial::CredentialsMissing),
            method_not_declared: head(Denial::MethodNotDeclared),
        }
    }

    /// Returns true if the refusal is one of these, in some protocol.
    pub(super) fn is(denied: &Denied) -> bool {
        matches!(denied.0, Denial::CredentialsMissing | Denial::MethodNotDeclared)
    }

    /// Returns the answer, if it is built.
    pub(super) fn answer(&self, denied: &Denied, wire: Wire) -> Option<Response<Body>> {
        if wire != Wire::Grpc || !Self::is(denied) {
            return None;
        }
        let missing = denied.0 == Denial::CredentialsMissing;
        let head = if missing { &self.credentials_missing } else { &self.method_not_declared };
        let mut response = Response::new(Body::empty());
        response.headers_mut().clone_from(head);
        Some(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_refusal_is_the_one_that_is_built_each_time() {
        let url: Arc<str> = "https://api.example/.well-known/oauth-protected-resource".into();
        for metadata in [None, Some(&url)] {
            let fixed = Fixed::new(metadata);
            for denial in [Denial::CredentialsMissing, Denial::MethodNotDeclared] {
                let denied = Denied::from(denial);
                let built = Wire::Grpc.answer(Answer::from(&denied).resource_metadata(metadata.cloned()));
                let answer = fixed.answer(&denied, Wire::Grpc).unwrap();
                assert_eq!((answer.headers(), answer.status()), (built.headers(), built.status()));
                assert!(fixed.answer(&denied, Wire::Http).is_none());
            }
            assert!(fixed.answer(&Denial::CredentialsMalformed("").into(), Wire::Grpc).is_none());
        }
    }
}
