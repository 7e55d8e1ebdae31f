//! Writes JSON directly into a string, member by member. RFC 8259.
//!
//! Used for JSON that is written once per token. A general serializer inspects each character and appends in
//! small steps. This module copies a string without escapes in one piece, and nearly every string has none.

use std::fmt::Write as _;

/// Appends a string with its quotation marks.
pub fn push_string(json: &mut String, text: &str) {
    json.push('"');
    push_escaped(json, text);
    json.push('"');
}

/// Appends the content of a string, without quotation marks. RFC 8259 section 7.
pub fn push_escaped(json: &mut String, text: &str) {
    // No early exit, so that the compiler can vectorize the loop.
    if !text.bytes().fold(false, |found, byte| found | is_special(byte)) {
        json.push_str(text);
        return;
    }
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = match c {
            '"' | '\\' => write!(json, "\\{c}"),
            '\0'..='\x1f' | '\x7f' => write!(json, "\\u{:04x}", u32::from(c)),
            _ => json.write_char(c),
        };
    }
}

/// Returns true if the byte is escaped. DEL needs no escape in JSON but is escaped to protect terminals. All
/// are ASCII.
fn is_special(byte: u8) -> bool {
    matches!(byte, ..0x20 | b'"' | b'\\' | 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_reads_back_as_it_was(text in ".*") {
            let mut json = String::new();
            push_string(&mut json, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }

    #[test]
    fn control_characters_and_quotation_marks_are_escaped() {
        let mut json = String::new();
        push_string(&mut json, "a\"b\\c\nd\u{7f}é\0");
        assert_eq!(json, r#""a\"b\\c\u000ad\u007fé\u0000""#);
    }
}
