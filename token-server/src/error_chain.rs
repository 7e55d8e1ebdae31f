//! Formats an error and its whole chain of sources as one line for the log.

use std::error::Error;

/// Returns `error` followed by its sources.
pub(crate) fn of(error: &dyn Error) -> String {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // Some libraries repeat the source in the error's own text.
        if !chain.ends_with(&cause) {
            chain.push_str(": ");
            chain.push_str(&cause);
        }
        source = error.source();
    }
    chain
}

#[cfg(test)]
mod tests {
    use crate::{key::KeyError, store::StoreError};

    #[test]
    fn a_cause_that_is_in_the_text_already_is_not_repeated() {
        let cause = std::io::Error::other("permission denied for schema public");
        let error = StoreError::unavailable(sqlx::Error::Io(cause));
        assert_eq!(super::of(&error).matches("permission denied").count(), 1);
    }

    #[test]
    fn names_every_cause_once() {
        let error = KeyError::Store(StoreError::unavailable("pulled the plug"));
        let chain = super::of(&error);
        assert_eq!(chain, "signing keys cannot be stored: the store is not available: pulled the plug");
    }
}
