//! Compiles the example application's `.proto` files, as an application's own build script would. Examples,
//! tests and benches use the result; the library does not.

#![allow(clippy::print_stdout, reason = "how a build script speaks to cargo")]

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    // What an application that calls a Protobuf compiler by itself gets to know; a test looks there.
    println!("cargo::rustc-env=ANNOTATIONS_INCLUDE={}", env::var("DEP_TOKEN_PROTO_INCLUDE")?);
    let folder = "examples/proto";
    let mut protos: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder)? {
        protos.push(entry?.path());
    }
    protos.sort();
    token_proto::build::configure().deny_undeclared().compile(&protos, &[folder])
}
