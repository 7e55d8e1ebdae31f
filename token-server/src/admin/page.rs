//! Page tokens. AIP-158: opaque; what was not handed out here is refused.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::AdminError;
use crate::client::ClientId;

const SIZE_DEFAULT: u32 = 50;
const SIZE_MAX: u32 = 1000;

/// 0 is the default, too many is the most there is.
pub(super) fn size(asked: i32) -> Result<u32, AdminError> {
    match u32::try_from(asked) {
        Ok(0) => Ok(SIZE_DEFAULT),
        Ok(size) => Ok(size.min(SIZE_MAX)),
        Err(_) => Err(AdminError::invalid("page_size", "it is negative")),
    }
}

/// The token of the page after `last`.
pub(super) fn token(last: &ClientId) -> String {
    let text = last.as_str();
    URL_SAFE_NO_PAD.encode([&crc32fast::hash(text.as_bytes()).to_be_bytes(), text.as_bytes()].concat())
}

/// What the page begins after; `None` for the first page.
pub(super) fn after(token: &str) -> Result<Option<ClientId>, AdminError> {
    if token.is_empty() {
        return Ok(None);
    }
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (checksum, text) = bytes.split_first_chunk::<4>()?;
        let intact = crc32fast::hash(text).to_be_bytes() == *checksum;
        ClientId::try_from(std::str::from_utf8(text).ok()?).ok().filter(|_| intact)
    };
    read().map(Some).ok_or_else(|| AdminError::invalid("page_token", "it is not one that was handed out here"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_leads_back_to_its_client() {
        let id = ClientId::try_from("orders 1").unwrap();
        assert_eq!(after(&token(&id)).unwrap(), Some(id));
        assert_eq!(after("").unwrap(), None);
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!([size(0), size(7), size(5000)].map(Result::unwrap), [50, 7, 1000]);
        assert!(size(-1).is_err());
    }

    proptest! {
        #[test]
        fn made_up_tokens_are_refused(text in ".{1,40}") {
            prop_assert!(after(&text).is_err());
        }

        #[test]
        fn a_changed_token_is_refused(place in 0..14usize, other in "[A-Za-z0-9_-]") {
            let mut text = token(&ClientId::try_from("orders").unwrap());
            prop_assume!(text[place..=place] != other);
            text.replace_range(place..=place, &other);
            prop_assert!(after(&text).is_err());
        }
    }
}
