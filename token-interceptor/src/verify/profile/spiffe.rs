//! SPIFFE IDs: SPIFFE Identity and Verifiable Identity Document, section 2.

/// The start of every SPIFFE ID.
pub const SCHEME: &str = "spiffe://";
/// The longest SPIFFE ID, in bytes: section 2.3.
const ID_BYTES_MAX: usize = 2048;
/// The longest name of a trust domain, in bytes: section 2.1.
const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// Returns the name in `spiffe://name`, the identifier of a trust domain. `None` if `id` has another form,
/// such as that of a workload, an upper-case letter or a final slash.
///
/// ```
/// use token_interceptor::verify::spiffe::trust_domain;
///
/// assert_eq!(trust_domain("spiffe://example.org"), Some("example.org"));
/// assert_eq!(trust_domain("spiffe://example.org/"), None);
/// ```
#[must_use]
pub fn trust_domain(id: &str) -> Option<&str> {
    let name = id.strip_prefix(SCHEME)?;
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    let fits = !name.is_empty() && name.len() <= TRUST_DOMAIN_BYTES_MAX && name.bytes().all(allowed);
    fits.then_some(name)
}

/// Returns the identifier `spiffe://name` of the trust domain of a workload; `None` if `id` is not the SPIFFE
/// ID of a workload, which has a path.
///
/// ```
/// use token_interceptor::verify::spiffe::trust_domain_of;
///
/// assert_eq!(trust_domain_of("spiffe://example.org/orders"), Some("spiffe://example.org"));
/// assert_eq!(trust_domain_of("spiffe://example.org"), None);
/// ```
#[must_use]
pub fn trust_domain_of(id: &str) -> Option<&str> {
    let after_scheme = id.strip_prefix(SCHEME)?;
    let slash = SCHEME.len() + after_scheme.find('/')?;
    let (domain, path) = id.split_at(slash);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let segment = |text: &str| !matches!(text, "" | "." | "..") && text.bytes().all(allowed);
    let well_formed = id.len() <= ID_BYTES_MAX && path.split('/').skip(1).all(segment);
    (well_formed && trust_domain(domain).is_some()).then_some(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_belongs_to_the_trust_domain_of_its_id() {
        for id in ["spiffe://example.org/orders", "spiffe://example.org/ns/prod/sa/a.b_c-D"] {
            assert_eq!(trust_domain_of(id), Some("spiffe://example.org"), "{id}");
        }
        let long = format!("spiffe://example.org/{}", "a".repeat(2028));
        for id in [
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe://example.org//a",
            "spiffe://example.org/a/",
            "spiffe://example.org/../a",
            "spiffe://example.org/.",
            "spiffe://example.org/a?b",
            "spiffe://example.org/%61",
            "spiffe://example.org:80/a",
            "spiffe://user@example.org/a",
            "spiffe://Example.org/a",
            "spiffe:///a",
            "SPIFFE://example.org/a",
            "https://example.org/a",
            &long,
        ] {
            assert_eq!(trust_domain_of(id), None, "{id}");
        }
        assert_eq!(trust_domain("spiffe://example.org"), Some("example.org"));
        assert_eq!(trust_domain("spiffe://example.org/"), None);
    }
}
