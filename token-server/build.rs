//! Compiles the used part of Envoy's protocol, with the same code that applications' build scripts call.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    token_proto::build::configure()
        .deny_undeclared()
        .compile(&["envoy/service/auth/v3/external_auth.proto"], &["proto"])
}
