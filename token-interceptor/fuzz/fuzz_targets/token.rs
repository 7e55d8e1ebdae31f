//! Arbitrary tokens: no panic, and none is accepted, as no input knows the key.
//!
//! Half of the inputs serve as header and claims and are signed, to reach the code behind the signature
//! check.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use token_interceptor::{test_util::TestIssuer, token::UnverifiedToken, verify::Verifier};

static ISSUER: LazyLock<TestIssuer> = LazyLock::new(|| TestIssuer::new("https://issuer.example"));
static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| ISSUER.verifier());

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    let verify = |token: &str| VERIFIER.verify(UnverifiedToken::new(token), "inventory", VERIFIER.now());
    if first % 2 == 0 {
        assert!(verify(&String::from_utf8_lossy(rest)).is_err());
    } else {
        let good = ISSUER.token();
        let token = if first % 4 == 1 { good.raw_claims(rest) } else { good.raw_header(rest) };
        if let Ok(verified) = verify(&token.sign()) {
            assert!(verified.audiences().any(|audience| audience == "inventory"));
            assert!(verified.expires_at() > VERIFIER.now() - VERIFIER.leeway());
            assert!(!verified.subject().is_empty() && !verified.client_id().is_empty());
        }
    }
});
