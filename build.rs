//! Compiles the contract with the same code that applications' build scripts call. No `protoc`.

#![allow(
    unreachable_pub,
    dead_code,
    unused_imports,
    reason = "the library's own modules, of which a build script needs a part"
)]

#[path = "proto/build.rs"]
mod build;
#[path = "proto/descriptor.rs"]
mod descriptor;
#[path = "proto/policy.rs"]
mod policy;

use std::{env, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("proto");
    let files = [
        "m2m/auth/v1/annotations.proto",
        "m2m/token/v1/error_reason.proto",
        "m2m/token/v1/token_service.proto",
        "m2m/token/v1/trust_service.proto",
        "m2m/admin/v1/audit_service.proto",
        "m2m/admin/v1/client_service.proto",
        "m2m/admin/v1/key_service.proto",
    ];
    build::configure().own().deny_undeclared().compile(&files, &[&proto])?;
    // Direct dependents' build scripts read it as DEP_TOKEN_PROTO_INCLUDE.
    println!("cargo::metadata=include={}", proto.display());
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}
