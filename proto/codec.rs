//! The codec of the contract's messages: Protobuf, in buffers of the messages' size.
//!
//! tonic makes room for 8 KiB in each direction of every call, which is past what common allocators keep at
//! hand for each thread. Nearly every message here is shorter than a kilobyte; the few that are not make
//! their buffers grow.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// Room for a message: no more than glibc keeps at hand.
const BUFFER_BYTES: usize = 1024;
/// Messages of a stream are sent together until they are as long as this: tonic's own number.
const YIELD_BYTES: usize = 32 * 1024;

/// The codec of the generated clients and servers.
#[derive(Debug)]
pub(crate) struct SmallMessages<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallMessages<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallMessages<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::new(BUFFER_BYTES, YIELD_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(BUFFER_BYTES, YIELD_BYTES))
    }
}
