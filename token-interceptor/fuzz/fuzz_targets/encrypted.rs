//! Arbitrary encrypted tokens: no panic, and none is accepted, as no input is signed.
//!
//! A third of the inputs serve as the header. A third are encrypted to the verifier's own key, to reach the
//! code behind the decryption.

#![no_main]

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use token_interceptor::{encryption::DecryptionKey, test_util::TestIssuer, token::UnverifiedToken, verify::Verifier};

/// Bob's key of RFC 7518 appendix C.
static KEY: LazyLock<DecryptionKey> = LazyLock::new(|| {
    let jwk = r#"{"kty":"EC","crv":"P-256","x":"weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ",
        "y":"e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck","d":"VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw"}"#;
    DecryptionKey::from_jwk(jwk).expect("a key on P-256")
});
static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let issuer = TestIssuer::new("https://issuer.example");
    let builder = Verifier::builder().issuer(issuer.trusted()).clock(issuer.clock());
    builder.decryption_key(KEY.clone()).build().expect("a verifier")
});

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    let token = match first % 3 {
        0 => String::from_utf8_lossy(rest).into_owned(),
        1 => format!("{}..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA", URL_SAFE_NO_PAD.encode(rest)),
        _ => KEY.public().encrypt(&String::from_utf8_lossy(rest)).expect("the system has randomness"),
    };
    assert!(VERIFIER.verify(UnverifiedToken::new(&token), "inventory", VERIFIER.now()).is_err());
});
