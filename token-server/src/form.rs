//! A strict parser of `application/x-www-form-urlencoded`.
//!
//! RFC 6749 appendix B. Lenient parsers keep a broken escape as text and replace bytes that are not UTF-8.
//! Two such parsers can then read two different client IDs. This one rejects both.

/// The error for a malformed name or value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not well-formed application/x-www-form-urlencoded")]
pub(crate) struct Malformed;

/// Returns the decoded pairs of a body, in order. Empty pairs (`a=1&&b=2`) are skipped.
pub(crate) fn pairs(body: &[u8]) -> impl Iterator<Item = Result<(String, String), Malformed>> + '_ {
    body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let name = decode(halves.next().unwrap_or_default())?;
        let value = decode(halves.next().unwrap_or_default())?;
        Ok((name, value))
    })
}

/// Decodes one name or value: `+` is a space, `%XX` is a byte, and the result must be UTF-8.
pub(crate) fn decode(encoded: &[u8]) -> Result<String, Malformed> {
    if !encoded.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return String::from_utf8(encoded.to_vec()).map_err(|_| Malformed);
    }
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.iter();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (hex(bytes.next())?, hex(bytes.next())?);
                high << 4 | low
            }
            other => *other,
        });
    }
    String::from_utf8(decoded).map_err(|_| Malformed)
}

fn hex(digit: Option<&u8>) -> Result<u8, Malformed> {
    match digit {
        Some(digit @ b'0'..=b'9') => Ok(digit - b'0'),
        Some(digit @ b'a'..=b'f') => Ok(digit - b'a' + 10),
        Some(digit @ b'A'..=b'F') => Ok(digit - b'A' + 10),
        Some(_) | None => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Malformed, decode, pairs};

    fn all(body: &str) -> Result<Vec<(String, String)>, Malformed> {
        pairs(body.as_bytes()).collect()
    }

    #[test]
    fn decodes_the_example_of_rfc_6749_appendix_b() {
        // U+0020 U+0025 U+0026 U+002B U+00A3 U+20AC
        assert_eq!(decode(b"+%25%26%2B%C2%A3%E2%82%AC").unwrap(), " %&+£€");
    }

    #[test]
    fn keeps_order_and_repetitions() {
        let read = all("a=1&b=&a=2&c").unwrap();
        let expected = [("a", "1"), ("b", ""), ("a", "2"), ("c", "")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn value_may_hold_an_equals_sign() {
        assert_eq!(all("a=b=c").unwrap(), [("a".to_owned(), "b=c".to_owned())]);
    }

    #[test]
    fn rejects_a_broken_escape() {
        for body in ["a=%", "a=%4", "a=%zz", "%=1", "a=%C3"] {
            assert_eq!(all(body), Err(Malformed), "{body}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = pairs(&body).count();
        }

        #[test]
        fn reads_back_what_was_encoded(text in "\\PC{0,40}") {
            let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
            prop_assert_eq!(decode(encoded.as_bytes()), Ok(text));
        }
    }
}
