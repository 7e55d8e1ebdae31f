//! Writes the gallery of forged tokens as one data file, for a verifier in any language.
//!
//! ```text
//! cargo run -p token-interceptor --example forgeries > token-interceptor/testdata/forgeries.json
//! ```

use token_interceptor::test_util::{TestIssuer, gallery};

#[expect(clippy::print_stdout, reason = "the file is the output")]
fn main() -> serde_json::Result<()> {
    let gallery = gallery(&TestIssuer::new("https://issuer.example"), "inventory");
    println!("{}", serde_json::to_string_pretty(&gallery)?);
    Ok(())
}
