//! `token-server hash-key`: the hash of a legacy API key, from standard input.

use crate::inspect::piped;

#[test]
fn prints_the_hash_of_a_key_without_its_line_break() {
    for input in ["foo", "foo\n", "foo\r\n"] {
        let ran = piped(&["hash-key"], input);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(ran.stdout, "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\n");
    }
}

#[test]
fn rejects_what_is_not_one_key_and_does_not_print_it() {
    for input in ["", "\n", "secret one", "secret\n\n", "secret\nsecret\n", " secret", "sécret"] {
        let ran = piped(&["hash-key"], input);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{input:?}");
        assert!(ran.stderr.contains("not one key") && !ran.stderr.contains("cret"), "{}", ran.stderr);
    }
}
