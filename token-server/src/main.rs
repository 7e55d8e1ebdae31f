//! The program `token-server`. Everything is in the library, `token_server::command`.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// With thousands of requests in hand, as in overload, a thread's part of glibc's heap holds too little to be quick: ADR 16.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    token_server::command::main()
}
