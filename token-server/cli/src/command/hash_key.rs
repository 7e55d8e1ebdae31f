//! `token-server hash-key`: the hash by which a service knows a legacy API key.

use std::io::{self, Read as _};

use clap::Args;
use token_interceptor::api_keys::KeyHash;

use super::{failure::Failure, output::Output};

/// The longest input, in bytes. A longer key fits into no header.
const KEY_BYTES_MAX: u64 = 64 * 1024;

/// Prints the SHA-256 hash of an API key, for the file of keys of a Rust service.
///
/// The key is read from standard input, so that it is in no list of processes and no history of a shell. One
/// line break at its end is ignored.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  token-server hash-key < key.txt
  pbpaste | token-server hash-key")]
pub(super) struct HashKey {}

impl HashKey {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let mut text = String::new();
        let read = io::stdin().take(KEY_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|error| Failure::failed("cannot read standard input", error))?;
        let key = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
        let fits_a_header = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits_a_header {
            let fault = "standard input is not one key of visible ASCII characters";
            return Err(Failure::usage(fault).next("write the key alone, without quotes and spaces"));
        }
        output.line(KeyHash::of(key))?;
        Ok(())
    }
}
