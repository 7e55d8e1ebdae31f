//! The issuer's parser of `application/x-www-form-urlencoded`: no panic, and the parsed values survive a
//! round trip.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../token-server/src/form.rs"]
mod form;

fuzz_target!(|body: &[u8]| {
    let Ok(pairs) = form::pairs(body).collect::<Result<Vec<_>, _>>() else { return };
    // Writing and parsing it again gives the same values.
    let mut written = url::form_urlencoded::Serializer::new(String::new());
    written.extend_pairs(&pairs);
    let written = written.finish();
    let again = form::pairs(written.as_bytes()).collect::<Result<Vec<_>, _>>();
    assert_eq!(again.as_ref(), Ok(&pairs), "{written}");
});
