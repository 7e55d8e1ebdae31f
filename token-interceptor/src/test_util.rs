//! Test utilities: an in-process issuer whose clock the test sets, and tokens with every kind of fault.
//!
//! ```
//! use token_interceptor::{test_util::TestIssuer, token::UnverifiedToken};
//!
//! let issuer = TestIssuer::new("https://issuer.example");
//! let token = issuer.token().audience("inventory").scope("inventory.read").sign();
//! let verifier = issuer.verifier();
//! let verified = verifier.verify(UnverifiedToken::new(&token), "inventory", verifier.now()).unwrap();
//! assert!(verified.has_scope("inventory.read"));
//! ```

#![allow(clippy::expect_used, reason = "a test that cannot be set up has failed")]

mod clock;
mod es512;
mod gallery;
mod issuer;
mod source;
mod token;
mod token_response;

pub use clock::FakeClock;
pub use es512::Es512Key;
pub use gallery::{Forgery, Gallery, Good, assert_refuses_all_forgeries, gallery};
pub use issuer::TestIssuer;
pub use source::TestSource;
pub use token::TokenBuilder;
pub use token_response::token_response;
