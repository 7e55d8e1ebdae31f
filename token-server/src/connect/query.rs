//! The query of a GET: `?connect=v1&encoding=json&message=…&base64=1`.

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::Encoding;
use crate::form;

/// Base64 for URLs, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The error in a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is not well-formed, or has a parameter twice, or lacks one.
    Malformed,
    Version,
    Encoding,
    Compression,
}

/// Returns the message of a query, and its encoding. Other parameters are ignored.
pub(super) fn message(query: &str) -> Result<(Encoding, Vec<u8>), Wrong> {
    let [mut connect, mut encoding, mut message, mut base64, mut compression] = [const { None }; 5];
    for pair in form::pairs(query.as_bytes()) {
        let (name, value) = pair.map_err(|_| Wrong::Malformed)?;
        let place = match &*name {
            "connect" => &mut connect,
            "encoding" => &mut encoding,
            "message" => &mut message,
            "base64" => &mut base64,
            "compression" => &mut compression,
            _ => continue,
        };
        if place.replace(value).is_some() {
            return Err(Wrong::Malformed);
        }
    }
    if connect.is_some_and(|version| version != "v1") {
        return Err(Wrong::Version);
    }
    if compression.is_some_and(|coding| !coding.is_empty() && coding != "identity") {
        return Err(Wrong::Compression);
    }
    let encoding = encoding.ok_or(Wrong::Malformed)?;
    let encoding = Encoding::named(&encoding).ok_or(Wrong::Encoding)?;
    let message = message.ok_or(Wrong::Malformed)?;
    let message = match base64.as_deref() {
        Some("1") => BASE64.decode(message).map_err(|_| Wrong::Malformed)?,
        None | Some("0" | "") => message.into_bytes(),
        Some(_) => return Err(Wrong::Malformed),
    };
    Ok((encoding, message))
}

#[cfg(test)]
mod tests {
    use super::{Encoding::*, *};

    #[test]
    fn reads_text_and_base64() {
        for query in [
            "connect=v1&encoding=json&message=%7B%7D",
            "message=e30&base64=1&encoding=json",
            "message=e30%3D&base64=1&encoding=json&compression=identity&other=1&other=2",
        ] {
            assert_eq!(message(query), Ok((Json, b"{}".to_vec())), "{query}");
        }
        assert_eq!(message("encoding=proto&message="), Ok((Proto, Vec::new())));
        assert_eq!(message("encoding=proto&base64=1&message=-_8"), Ok((Proto, vec![0xfb, 0xff])));
    }

    #[test]
    fn rejects_what_is_missing_repeated_or_unknown() {
        for (query, error) in [
            ("", Wrong::Malformed),
            ("message=%7B%7D", Wrong::Malformed),
            ("encoding=json", Wrong::Malformed),
            ("encoding=json&message=%zz", Wrong::Malformed),
            ("encoding=json&message=%7B%7D&message=%7B%7D", Wrong::Malformed),
            ("encoding=json&encoding=json&message=%7B%7D", Wrong::Malformed),
            ("encoding=json&message=***&base64=1", Wrong::Malformed),
            ("encoding=json&message=e30&base64=yes", Wrong::Malformed),
            ("connect=v2&encoding=json&message=%7B%7D", Wrong::Version),
            ("encoding=xml&message=%7B%7D", Wrong::Encoding),
            ("encoding=json&message=%7B%7D&compression=gzip", Wrong::Compression),
        ] {
            assert_eq!(message(query), Err(error), "{query}");
        }
    }
}
