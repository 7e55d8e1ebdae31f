//! Claims that no client and no identity provider may set. RFC 7519 section 4.1, RFC 8693 section 4, RFC 9068
//! section 2.2, RFC 9493 section 3.

/// Claims that only the issuer sets, because verifiers base decisions on them. Sorted.
const RESERVED: [&str; 22] = [
    "acr",
    "act",
    "amr",
    "at_hash",
    "aud",
    "auth_time",
    "authorization_details",
    "azp",
    "client_id",
    "cnf",
    "exp",
    "iat",
    "iss",
    "jti",
    "m2m_ancestors",
    "may_act",
    "nbf",
    "nonce",
    "scope",
    "sid",
    "sub",
    "sub_id",
];

/// Returns true if `claim` is reserved: a client's custom claims must not shadow it.
#[must_use]
pub fn is_reserved(claim: &str) -> bool {
    RESERVED.binary_search(&claim).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_claims_are_sorted_for_the_search() {
        assert!(RESERVED.is_sorted());
        assert!(RESERVED.iter().all(|claim| is_reserved(claim)));
        assert!(is_reserved(token_interceptor::token::ANCESTORS_CLAIM));
        assert!(!is_reserved("department"));
    }
}
