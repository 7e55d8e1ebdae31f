//! An error and its causes as one line, for a log.

use std::error::Error;

/// Returns `error` followed by its causes. A cause that the text already ends with is not repeated.
#[must_use]
pub fn of(error: &dyn Error) -> String {
    let mut text = error.to_string();
    add_causes(&mut text, error);
    text
}

/// Returns the causes of `error` without the error itself.
#[must_use]
pub fn causes_of(error: &dyn Error) -> String {
    let mut text = String::new();
    add_causes(&mut text, error);
    text
}

fn add_causes(text: &mut String, error: &dyn Error) {
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        // Some libraries repeat the source in the error's own text.
        if !text.ends_with(&cause) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause);
        }
        next = error.source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn layers(texts: &[&'static str]) -> Option<Box<Layer>> {
        let (text, rest) = texts.split_first()?;
        Some(Box::new(Layer { text, source: layers(rest) }))
    }

    #[test]
    fn chain_names_every_cause_once() {
        let error = layers(&["keys cannot be stored", "the store failed: no disk", "no disk"]).unwrap();
        assert_eq!(of(&*error), "keys cannot be stored: the store failed: no disk");
        assert_eq!(causes_of(&*error), "the store failed: no disk");
    }

    #[test]
    fn chain_of_a_lone_error_is_its_text() {
        let error = layers(&["no disk"]).unwrap();
        assert_eq!((of(&*error).as_str(), causes_of(&*error).as_str()), ("no disk", ""));
    }
}
