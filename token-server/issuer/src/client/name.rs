//! Names in OAuth requests and tokens. Each is validated once.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// The longest client ID, in characters.
const CLIENT_ID_CHARS_MAX: usize = 255;
/// The longest scope, in characters.
const SCOPE_CHARS_MAX: usize = 255;
/// The longest audience, in bytes.
const AUDIENCE_BYTES_MAX: usize = 512;

/// The reason why a text is not a valid name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(&'static str);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as it is on the wire.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;

            fn try_from(text: &str) -> Result<Self, NameError> {
                if $check(text) { Ok(Self(text.into())) } else { Err(NameError($rule)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::try_from(text.as_str())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        // Hash and Eq are those of the text, so that a map accepts a borrowed text as the key.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// A client identifier: 1 to 255 printable ASCII characters. RFC 6749 section 2.2 and appendix A.1.
    ClientId,
    is_client_id,
    "a client ID is 1 to 255 printable ASCII characters"
);
name!(
    /// One scope. RFC 6749 section 3.3: printable ASCII without space, quotation mark and backslash.
    Scope,
    is_scope,
    "a scope is 1 to 255 printable ASCII characters without space, quotation mark and backslash"
);
name!(
    /// A resource server, as `aud` names it. RFC 9068 section 2.2.
    Audience,
    is_audience,
    "an audience is 1 to 512 bytes without spaces and control characters"
);

fn is_client_id(text: &str) -> bool {
    (1..=CLIENT_ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, 0x20..=0x7e))
}

fn is_scope(text: &str) -> bool {
    (1..=SCOPE_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

fn is_audience(text: &str) -> bool {
    (1..=AUDIENCE_BYTES_MAX).contains(&text.len()) && is_printable(text) && !text.chars().any(char::is_whitespace)
}

/// Returns true if no character of the text could control a terminal or break a line of a log.
pub(crate) fn is_printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_id_is_printable_ascii_of_bounded_length() {
        for good in ["a", "orders", "a b", "~", &"x".repeat(255)] {
            assert!(ClientId::try_from(good).is_ok(), "{good}");
        }
        for bad in ["", "é", "a\n", "\u{7f}", &"x".repeat(256)] {
            assert!(ClientId::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn scope_follows_rfc_6749_section_3_3() {
        for good in ["inventory.read", "!", "[]", "a:b/c"] {
            assert!(Scope::try_from(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\"", "a\\b", "é"] {
            assert!(Scope::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn audience_has_no_spaces_and_no_control_characters() {
        for good in ["inventory", "https://api.example/v1", "ünïcode"] {
            assert!(Audience::try_from(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\u{a0}b", "a\0", &"x".repeat(513)] {
            assert!(Audience::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_stored_name_is_checked_again() {
        assert!(serde_json::from_str::<ClientId>("\"\"").is_err());
        assert_eq!(serde_json::to_string(&ClientId::try_from("a").unwrap()).unwrap(), "\"a\"");
    }
}
