//! The program `token-server`. Everything is in the library, `token_server::command`.

use std::process::ExitCode;

fn main() -> ExitCode {
    token_server::command::main()
}
