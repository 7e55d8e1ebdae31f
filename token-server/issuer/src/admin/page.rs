//! Opaque page tokens (AIP-158). A token is valid only for the request that it was issued for.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::AdminError;

const SIZE_DEFAULT: u32 = 50;
const SIZE_MAX: u32 = 1000;

/// Returns the page size: the default for 0, and at most the maximum.
pub(super) fn size(asked: i32) -> Result<u32, AdminError> {
    match u32::try_from(asked) {
        Ok(0) => Ok(SIZE_DEFAULT),
        Ok(size) => Ok(size.min(SIZE_MAX)),
        Err(_) => Err(AdminError::invalid("page_size", "it is negative")),
    }
}

/// Truncates `items` to `size`. Returns the last remaining item if there are more.
pub(super) fn cut<T>(items: &mut Vec<T>, size: u32) -> Option<&T> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = items.len() > size;
    items.truncate(size);
    items.last().filter(|_| more)
}

/// Returns the token of the page that follows `last`, for the request `question`.
pub(super) fn token(question: &str, last: &str) -> String {
    URL_SAFE_NO_PAD.encode([&checksum(question, last.as_bytes()), last.as_bytes()].concat())
}

/// Returns the item that the page starts after; `None` for the first page.
pub(super) fn after(question: &str, token: &str) -> Result<Option<String>, AdminError> {
    if token.is_empty() {
        return Ok(None);
    }
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (sum, last) = bytes.split_first_chunk::<4>()?;
        let last = std::str::from_utf8(last).ok()?;
        (checksum(question, last.as_bytes()) == *sum).then(|| last.to_owned())
    };
    read().map(Some).ok_or_else(foreign)
}

/// The error for a page token that was not issued for this request.
pub(super) fn foreign() -> AdminError {
    AdminError::invalid("page_token", "it was not issued for the same request")
}

fn checksum(question: &str, last: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(question.as_bytes());
    hasher.update(&[0]);
    hasher.update(last);
    hasher.finalize().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_leads_back_to_its_place_for_the_same_question_alone() {
        let token = token("clients", "orders 1");
        assert_eq!(after("clients", &token).unwrap().as_deref(), Some("orders 1"));
        assert!(after("records", &token).is_err());
        assert_eq!(after("clients", "").unwrap(), None);
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!([size(0), size(7), size(5000)].map(Result::unwrap), [50, 7, 1000]);
        assert!(size(-1).is_err());
    }

    #[test]
    fn there_is_a_next_page_only_where_more_was_read() {
        let mut items = vec![1, 2, 3];
        assert_eq!(cut(&mut items, 2), Some(&2));
        assert_eq!(items, [1, 2]);
        assert_eq!(cut(&mut items, 2), None);
    }

    proptest! {
        #[test]
        fn made_up_tokens_are_refused(text in ".{1,40}") {
            prop_assert!(after("clients", &text).is_err());
        }

        #[test]
        fn a_changed_token_is_refused(place in 0..14usize, other in "[A-Za-z0-9_-]") {
            let mut text = token("clients", "orders");
            prop_assume!(text[place..=place] != other);
            text.replace_range(place..=place, &other);
            prop_assert!(after("clients", &text).is_err());
        }
    }
}
