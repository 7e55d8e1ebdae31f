//! An error with everything that led to it, in one line for the log.

use std::error::Error;

/// `error` and its sources.
pub(crate) fn of(error: &dyn Error) -> String {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        chain.push_str(": ");
        chain.push_str(&error.to_string());
        source = error.source();
    }
    chain
}

#[cfg(test)]
mod tests {
    use crate::{key::KeyError, store::StoreError};

    #[test]
    fn names_every_cause_once() {
        let error = KeyError::Store(StoreError::unavailable("pulled the plug"));
        let chain = super::of(&error);
        assert_eq!(chain, "signing keys cannot be stored: the store is not available: pulled the plug");
    }
}
