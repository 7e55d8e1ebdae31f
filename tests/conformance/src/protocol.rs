//! The messages between runner and executor, and their framing.

use std::io::{self, Read, Write};

use prost::Message;

/// The generated messages.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("m2m.conformance.v1");
}

/// The largest message, in bytes. A longer length means that the other side does not follow the protocol.
const MESSAGE_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// Writes one message with its length, and flushes.
///
/// # Errors
///
/// When the other side has closed the pipe.
pub fn write(to: &mut impl Write, message: &impl Message) -> io::Result<()> {
    let encoded = message.encode_to_vec();
    let length = u32::try_from(encoded.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&encoded)?;
    to.flush()
}

/// Reads one message. `None` at the end of the input.
///
/// # Errors
///
/// When the input ends within a message, or is not a message.
pub fn read<M: Message + Default>(from: &mut impl Read) -> io::Result<Option<M>> {
    let mut length = [0; 4];
    match from.read(&mut length)? {
        0 => return Ok(None),
        read => from.read_exact(length.get_mut(read..).unwrap_or_default())?,
    }
    let length = u32::from_le_bytes(length);
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::other(format!("a message of {length} bytes: is standard output used for text?")));
    }
    let mut encoded = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    from.read_exact(&mut encoded)?;
    M::decode(&*encoded).map(Some).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::{v1::ConformanceRequest, *};

    #[test]
    fn messages_are_read_as_they_were_written() {
        let mut pipe = Vec::new();
        for name in ["one", "two"] {
            write(&mut pipe, &ConformanceRequest { name: name.to_owned(), case: None }).unwrap();
        }
        let mut pipe = &*pipe;
        let names = std::iter::from_fn(|| read::<ConformanceRequest>(&mut pipe).unwrap().map(|request| request.name));
        assert_eq!(names.collect::<Vec<_>>(), ["one", "two"]);
    }

    #[test]
    fn a_text_in_place_of_a_message_is_an_error() {
        assert!(read::<ConformanceRequest>(&mut &b"Listening on port 80"[..]).is_err());
        assert!(read::<ConformanceRequest>(&mut &[4, 0, 0, 0, 1][..]).is_err());
    }
}
