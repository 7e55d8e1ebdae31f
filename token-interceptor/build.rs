//! Compiles the `.proto` files of the examples, as an application's own build script would. Examples, tests
//! and benches use the result. The library does not, so without the feature `examples` nothing is done.

#![allow(clippy::print_stdout, reason = "how a build script speaks to cargo")]

use std::error::Error;

#[cfg(not(feature = "examples"))]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}

#[cfg(feature = "examples")]
fn main() -> Result<(), Box<dyn Error>> {
    use std::{env, fs, path::PathBuf};

    use token_proto::build;

    // An application that calls a Protobuf compiler by itself reads this folder; a test looks there.
    println!("cargo::rustc-env=ANNOTATIONS_INCLUDE={}", env::var("DEP_TOKEN_PROTO_INCLUDE")?);
    let folder = "examples/proto";
    let mut protos: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder)? {
        protos.push(entry?.path());
    }
    protos.sort();
    build::configure().deny_undeclared().compile(&protos, &[folder])
}
