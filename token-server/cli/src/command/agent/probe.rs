//! The check of token files for a supervisor's probe: each must hold an unexpired token. It contacts no
//! server.

use std::{path::Path, time::SystemTime};

use serde_json::Value;
use token_interceptor::clock::numeric_date;

use crate::command::{
    explain,
    failure::{Failure, Kind},
};

/// Checks the file of one audience.
///
/// # Errors
///
/// When there is no token, or an expired one. An encrypted token does not show its times, so it passes while
/// it exists.
pub(super) fn check(audience: &str, file: &Path, now: SystemTime) -> Result<(), Failure> {
    let lacking = |why: &str| Failure::new(Kind::Unavailable, format!("{} {why} for {audience:?}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| lacking("has no token").because(error))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(lacking("has no token"));
    }
    let decoded = explain::decode(token).ok();
    let expires = decoded.and_then(|decoded| decoded.claims.get("exp").and_then(Value::as_u64));
    if expires.is_some_and(|expires| expires <= numeric_date(now)) {
        return Err(lacking("has an expired token"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    #[test]
    fn a_probe_passes_for_a_token_that_is_there_and_lives() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("inventory");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        assert!(check("inventory", &file, now).is_err());
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let token = |exp: u64| format!("{}.{}.x", part("{}"), part(&format!("{{\"exp\":{exp}}}")));
        for (text, passes) in [
            (token(1001), true),
            (token(1000), false),
            (String::new(), false),
            ("\n".to_owned(), false),
            (format!("{}.a.b.c.d", part("{}")), true),
        ] {
            std::fs::write(&file, &text).unwrap();
            assert_eq!(check("inventory", &file, now).is_ok(), passes, "{text:?}");
        }
    }
}
