//! A gallery of forged tokens: every way that is known to fool verifiers, each with the verdict that it
//! deserves. RFC 8725; RFC 9068 section 4.
//!
//! [`gallery`] makes them afresh for a test's own issuer. `testdata/forgeries.json` has them as one data file,
//! for a verifier in any language; `cargo run --example forgeries` writes it anew.

mod assertion;
mod claims;
mod headers;
mod shapes;
mod signatures;

use serde::Serialize;
use serde_json::{Value, json};
use token_proto::token::v1::ErrorReason;

pub use assertion::assert_refuses_all_forgeries;

use super::{TestIssuer, TokenBuilder};

/// 2100-01-01T00:00:00Z: what the clock shows plays no part, except where a forgery is about time.
pub(super) const FAR: u64 = 4_102_444_800;

/// A token that must be refused.
#[derive(Clone, Debug, Serialize)]
pub struct Forgery {
    /// What it is called: stable, so that a verifier's exceptions can name it.
    pub name: &'static str,
    /// Why it must be refused, or whom it fooled.
    pub why: &'static str,
    /// The token itself.
    pub token: String,
    /// The reason that this crate's verifier gives; any refusal will do elsewhere.
    pub reason: &'static str,
}

/// Good and forged tokens of one issuer, with the key set to verify them by.
#[derive(Clone, Debug, Serialize)]
pub struct Gallery {
    /// The issuer that a verifier has to trust, exactly.
    pub issuer: String,
    /// The audience that it stands for.
    pub audience: String,
    /// The issuer's JWK Set. Not every key in it may be used.
    pub jwks: Value,
    /// Tokens that must be accepted: a verifier that refuses everything proves nothing.
    pub good: Vec<Good>,
    /// Tokens that must be refused.
    pub forgeries: Vec<Forgery>,
}

/// A token that must be accepted.
#[derive(Clone, Debug, Serialize)]
pub struct Good {
    /// What it is called.
    pub name: &'static str,
    /// The token itself.
    pub token: String,
}

/// What the forgers of each kind work with.
struct Workshop<'a> {
    issuer: &'a TestIssuer,
    audience: &'a str,
    /// The forger's own key.
    stranger: TestIssuer,
    /// In the issuer's key set with `use: enc`: not for signatures.
    encryption: TestIssuer,
    forgeries: Vec<Forgery>,
}

/// A symmetric key that stands in the issuer's key set, as no key set's should.
const SHARED_SECRET: &[u8; 32] = b"not a secret, anybody can see it";

/// Everything that a verifier of `issuer` has to refuse, for `audience`.
#[must_use]
pub fn gallery(issuer: &TestIssuer, audience: &str) -> Gallery {
    let workshop = |issuer| Workshop {
        issuer,
        audience,
        stranger: TestIssuer::new(issuer.issuer()),
        encryption: TestIssuer::new(issuer.issuer()),
        forgeries: Vec::new(),
    };
    let mut workshop = workshop(issuer);
    signatures::forge(&mut workshop);
    headers::forge(&mut workshop);
    claims::forge(&mut workshop);
    shapes::forge(&mut workshop);
    Gallery {
        issuer: issuer.issuer().to_owned(),
        audience: audience.to_owned(),
        jwks: workshop.jwks(),
        good: workshop.good(),
        forgeries: workshop.forgeries,
    }
}

impl Workshop<'_> {
    /// A good token, to be spoilt.
    fn token(&self) -> TokenBuilder {
        self.issuer.token().audience(self.audience).claim("exp", FAR)
    }

    fn add(&mut self, name: &'static str, why: &'static str, token: String) {
        self.add_as(ErrorReason::TokenInvalid, name, why, token);
    }

    fn add_as(&mut self, reason: ErrorReason, name: &'static str, why: &'static str, token: String) {
        self.forgeries.push(Forgery { name, why, token, reason: reason.as_reason() });
    }

    fn good(&self) -> Vec<Good> {
        let good = |name, token: TokenBuilder| Good { name, token: token.sign() };
        vec![
            good("plain", self.token()),
            good("with_scope", self.token().scope("a.read b")),
            good("one_of_several_audiences", self.token().claim("aud", json!(["elsewhere", self.audience]))),
            good("type_in_capitals", self.token().header("typ", "AT+JWT")),
            good("type_with_prefix", self.token().header("typ", "application/at+jwt")),
            good("claims_without_a_meaning", self.token().claim("tenant", json!({ "id": [1, null, "x"] }))),
        ]
    }

    fn jwks(&self) -> Value {
        let jwk = |issuer: &TestIssuer| -> Value {
            serde_json::from_str(&issuer.key().public_jwk().to_json()).unwrap_or_default()
        };
        let mut encryption = jwk(&self.encryption);
        if let Some(members) = encryption.as_object_mut() {
            members.insert("use".to_owned(), json!("enc"));
            members.remove("alg");
        }
        let shared = json!({ "kty": "oct", "kid": "shared", "alg": "HS256", "k": encode(SHARED_SECRET) });
        json!({ "keys": [jwk(self.issuer), encryption, shared, { "kty": "unheard-of", "kid": "x" }] })
    }
}

fn encode(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes)
}
