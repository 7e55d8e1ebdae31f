//! The program `token-server`: its command line, and its allocator.

mod command;

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// With thousands of requests in flight, as in overload, glibc's cache per thread is too small to be fast:
/// ADR 16.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    command::main()
}
