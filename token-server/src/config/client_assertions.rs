//! `[client_assertions]`: client authentication with a key, and the source of clients' keys.

use std::time::Duration;

use super::reader::Section;

use token_issuer::client_authentication::assertion::{AssertionRules, Reach};

/// The range of `jwks_uri_served_max`. A fetch is due after five minutes, and a key revoked a day ago must
/// not be valid.
const SERVED_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(300)..=Duration::from_secs(86_400);

pub(super) fn read(mut section: Section<'_>) -> AssertionRules {
    let default = AssertionRules::default();
    let private = section.or("jwks_uri_private_addresses", false);
    let rules = AssertionRules {
        type_required: section.or("type_required", default.type_required),
        reach: if private { Reach::Private } else { Reach::Public },
        roots_pem: section.roots("jwks_uri_ca_file").unwrap_or_default(),
        served_max: section.within("jwks_uri_served_max", default.served_max, SERVED_RANGE),
    };
    section.finish();
    rules
}
