//! [`AdminError`] → gRPC status. AIP-193; each broken rule as a `BadRequest` field violation.

use std::collections::HashMap;

use token_interceptor::error_chain;
use token_interceptor::status::code;
use token_issuer::{
    admin::{AdminError, FieldViolation},
    error::UNAVAILABLE_RETRY_AFTER,
    origin::Origin,
};
use token_proto::{ERROR_DOMAIN, token::v1::ErrorReason};
use tonic::Status;
use tonic_types::ErrorDetails;

use super::with_details;

/// The status of a rejected admin request.
pub(in crate::grpc) fn of_admin_error(error: &AdminError, origin: &Origin) -> Status {
    let reason = reason(error);
    let mut metadata = HashMap::new();
    let mut details = ErrorDetails::new();
    match error {
        AdminError::Invalid(violations) => {
            for FieldViolation { field, description } in violations {
                details.add_bad_request_violation(field, description);
            }
        }
        AdminError::BeyondOwnScopes { missing } => drop(metadata.insert("scope".to_owned(), missing.join(" "))),
        AdminError::Unavailable(_) => {
            details.set_retry_info(Some(UNAVAILABLE_RETRY_AFTER));
            tracing::warn!(error = %error_chain::of(error), request_id = origin.request_id().as_str(), "admin request failed");
        }
        AdminError::Internal(_) => {
            tracing::error!(error = %error_chain::of(error), request_id = origin.request_id().as_str(), "admin request failed");
        }
        AdminError::NotFound(_)
        | AdminError::AlreadyExists
        | AdminError::EtagMismatch
        | AdminError::TooManyClients
        | AdminError::Precondition(_) => {}
    }
    details.set_error_info(reason.as_reason(), ERROR_DOMAIN, metadata);
    with_details(code(reason), &error.to_string(), details, origin)
}

fn reason(error: &AdminError) -> ErrorReason {
    match error {
        AdminError::Invalid(_) => ErrorReason::InvalidRequest,
        AdminError::NotFound(_) => ErrorReason::NotFound,
        AdminError::AlreadyExists => ErrorReason::AlreadyExists,
        AdminError::EtagMismatch => ErrorReason::EtagMismatch,
        AdminError::TooManyClients | AdminError::Precondition(_) => ErrorReason::PreconditionFailed,
        AdminError::BeyondOwnScopes { .. } => ErrorReason::ScopeInsufficient,
        AdminError::Unavailable(_) => ErrorReason::IssuerUnavailable,
        AdminError::Internal(_) => ErrorReason::Internal,
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;
    use token_issuer::store::StoreError;

    fn status(error: &AdminError) -> Status {
        of_admin_error(error, &crate::connection::unknown_origin())
    }

    #[test]
    fn every_broken_rule_is_a_field_violation() {
        let status = status(&AdminError::invalid("client.grants[0].audience", "it is empty"));
        assert_eq!(status.code(), Code::InvalidArgument);
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!((violations.len(), violations[0].field.as_str()), (1, "client.grants[0].audience"));
        assert_eq!(violations[0].description, "it is empty");
        assert_eq!(status.get_details_error_info().unwrap().reason, "INVALID_REQUEST");
    }

    #[test]
    fn every_error_has_its_code_and_reason() {
        let missing = vec!["keys.write".to_owned()];
        let cases = [
            (AdminError::NotFound("client"), Code::NotFound, "NOT_FOUND"),
            (AdminError::AlreadyExists, Code::AlreadyExists, "ALREADY_EXISTS"),
            (AdminError::EtagMismatch, Code::Aborted, "ETAG_MISMATCH"),
            (AdminError::Precondition(String::new()), Code::FailedPrecondition, "PRECONDITION_FAILED"),
            (AdminError::BeyondOwnScopes { missing }, Code::PermissionDenied, "SCOPE_INSUFFICIENT"),
            (StoreError::unavailable("x").into(), Code::Unavailable, "ISSUER_UNAVAILABLE"),
            (StoreError::corrupt("x").into(), Code::Internal, "INTERNAL"),
        ];
        for (error, code, reason) in cases {
            let status = status(&error);
            let info = status.get_details_error_info().unwrap();
            assert_eq!((status.code(), info.reason.as_str(), info.domain.as_str()), (code, reason, ERROR_DOMAIN));
        }
    }

    #[test]
    fn causes_stay_inside() {
        let status = status(&StoreError::unavailable("the password is hunter2").into());
        assert!(!status.message().contains("hunter2"));
        assert!(status.get_details_retry_info().is_some());
    }
}
