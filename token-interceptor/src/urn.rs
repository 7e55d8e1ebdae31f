//! The URNs of OAuth. The IANA registry "OAuth URI" lists them.

/// The type of an access token. RFC 8693 section 3.
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The type of an OpenID Connect ID token. RFC 8693 section 3.
pub const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// The type of a JWT. RFC 8693 section 3.
pub const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// The grant type of token exchange. RFC 8693 section 2.1.
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// The type of a client assertion. RFC 7523 section 2.2.
pub const JWT_BEARER_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The type of a client assertion that is a JWT-SVID. draft-ietf-oauth-spiffe-client-auth-02.
pub const JWT_SPIFFE_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
