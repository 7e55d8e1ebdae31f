//! Compiles the protocol of the suite, and the descriptors of the services that its cases call.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let own = root.join("proto");
    let contract = root.join("../../proto");

    let protocol = protox::compile(["m2m/conformance/v1/conformance.proto"], [&own])?;
    tonic_prost_build::configure().build_client(false).build_server(false).compile_fds(protocol)?;

    let mut compiler = protox::Compiler::new([&own, &contract])?;
    compiler.include_imports(true).open_file("conformance/catalog/v1/catalog.proto")?;
    // The bytes, not the decoded set, which has lost the custom options.
    fs::write(out.join("catalog.bin"), compiler.encode_file_descriptor_set())?;
    println!("cargo::rerun-if-changed={}", own.display());
    Ok(())
}
