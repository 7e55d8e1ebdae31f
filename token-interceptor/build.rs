//! Compiles the example application's `.proto` files, as an application's own build script would. Examples,
//! tests and benches use the result; the library does not.

use std::{error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = "examples/proto";
    let mut protos: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder)? {
        protos.push(entry?.path());
    }
    protos.sort();
    token_proto::build::configure().deny_undeclared().compile(&protos, &[folder])
}
