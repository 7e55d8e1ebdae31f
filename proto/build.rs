//! For build scripts. One call compiles an application's `.proto` files with everything that the layers need,
//! without `protoc`.
//!
//! ```no_run
//! // build.rs
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     token_proto::build::compile(&["proto/inventory.proto"], &["proto"])
//! }
//! ```
//!
//! [`Build::generator`] and [`Build::prost`] pass every option of the code generators through.
//!
//! A build script that has its own compiler writes the policy table alone:
//! [`crate::descriptor::write_policy`].
//!
//! In the crate, [`tonic::include_proto!`] includes the messages and services,
//! [`include_policy!`](crate::include_policy) the policy table and
//! [`include_descriptor_set!`](crate::include_descriptor_set) the encoded descriptor set.

#![allow(clippy::print_stdout, reason = "how a build script speaks to cargo")]

#[path = "build/redact.rs"]
mod redact;

use std::{
    collections::BTreeSet,
    env, fmt, fs,
    path::{Path, PathBuf},
};

pub use tonic_prost_build::{Builder, Config};

use crate::{descriptor, policy::Access};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Compiles `protos`, found under `includes`, for client and server.
///
/// The policy table has the services of `protos`, but not those of imported files. A method without a policy
/// is a build warning. [`Build::deny_undeclared`] makes it an error.
///
/// # Errors
///
/// Returns an error if a file does not compile, or an annotation contradicts itself. The message names file
/// and line.
pub fn compile(protos: &[impl AsRef<Path>], includes: &[impl AsRef<Path>]) -> Result<()> {
    configure().compile(protos, includes)
}

/// Returns settings for a compilation; see [`compile`].
#[must_use]
pub fn configure() -> Build {
    Build { deny_undeclared: false, own: false, out_dir: None, generator: Vec::new(), prost: Vec::new() }
}

/// A program's own change of prost's settings.
type Change = Box<dyn FnOnce(&mut Config)>;

/// Settings for [`Build::compile`].
pub struct Build {
    deny_undeclared: bool,
    /// True if the contract itself is compiled, and not an application.
    own: bool,
    out_dir: Option<PathBuf>,
    generator: Vec<Box<dyn FnOnce(Builder) -> Builder>>,
    prost: Vec<Change>,
}

impl fmt::Debug for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Build").field("deny_undeclared", &self.deny_undeclared).finish_non_exhaustive()
    }
}

impl Build {
    /// Makes a method without a policy an error and not a warning.
    #[must_use]
    pub fn deny_undeclared(mut self) -> Self {
        self.deny_undeclared = true;
        self
    }

    /// Sets the folder of the generated files. Default: `OUT_DIR`.
    #[must_use]
    pub fn out_dir(mut self, out_dir: impl Into<PathBuf>) -> Self {
        self.out_dir = Some(out_dir.into());
        self
    }

    /// Changes the generator of messages and services: further attributes, types of other crates, one side
    /// only. The folder, and the packages that this crate provides, stay as they are.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// token_proto::build::configure()
    ///     .generator(|tonic| tonic.type_attribute(".", "#[derive(Eq, Hash)]").build_server(false))
    ///     .compile(&["proto/inventory.proto"], &["proto"])
    /// # }
    /// ```
    #[must_use]
    pub fn generator(mut self, change: impl FnOnce(Builder) -> Builder + 'static) -> Self {
        self.generator.push(Box::new(change));
        self
    }

    /// Changes the options of prost that the generator does not have.
    #[must_use]
    pub fn prost(mut self, change: impl FnOnce(&mut Config) + 'static) -> Self {
        self.prost.push(Box::new(change));
        self
    }

    /// For this package's own build script, which shares this file.
    #[allow(dead_code, reason = "the library itself never compiles the contract")]
    pub(crate) fn own(mut self) -> Self {
        self.own = true;
        self
    }

    /// Compiles `protos`, found under `includes`.
    ///
    /// # Errors
    ///
    /// Returns an error if a file does not compile, or an annotation contradicts itself. With
    /// [`Build::deny_undeclared`], also if a method has no policy.
    pub fn compile(self, protos: &[impl AsRef<Path>], includes: &[impl AsRef<Path>]) -> Result<()> {
        let out = match &self.out_dir {
            Some(out) => out.clone(),
            None => PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: call this from a build script")?),
        };
        let mut roots: Vec<&Path> = includes.iter().map(AsRef::as_ref).collect();
        if !self.own {
            roots.push(Path::new(PROTO_INCLUDE));
        }
        let mut compiler = protox::Compiler::new(&roots)?;
        // Only the Debug of protox shows file, line and column.
        let placed = |error: protox::Error| {
            let text = format!("{error:?}");
            descriptor::Error(format!("{text}{}", hint(&text)))
        };
        compiler.include_imports(true).include_source_info(true).open_files(protos).map_err(placed)?;
        // The bytes, not the decoded set: prost-types would drop the custom options.
        let encoded = compiler.encode_file_descriptor_set();

        // Services of imported files belong to other packages and their build scripts.
        let named: BTreeSet<&str> = compiler.files().filter(|file| !file.is_import()).map(|file| file.name()).collect();
        let policies = descriptor::read(&encoded, |file| named.contains(file))?;
        self.report_undeclared(&policies)?;

        let redacted = redact::Redacted::find(&encoded)?;
        let changed = self.generator.into_iter().fold(tonic_prost_build::configure(), |tonic, change| change(tonic));
        let mut tonic =
            changed.out_dir(&out).extern_path(".google.rpc", "::tonic_types::pb").skip_debug(redacted.paths());
        if self.own {
            tonic = tonic.codec_path("crate::codec::SmallMessages");
        } else {
            tonic = tonic
                .extern_path(".m2m.token.v1", "::token_proto::token::v1")
                .extern_path(".m2m.auth.v1", "::token_proto::auth::v1")
                .extern_path(".m2m.admin.v1", "::token_proto::admin::v1");
        }
        let mut prost = Config::new();
        self.prost.into_iter().for_each(|change| change(&mut prost));
        tonic.compile_fds_with_config(compiler.file_descriptor_set(), prost)?;
        redacted.append_debug(&out)?;

        let table = if self.own { descriptor::own_table(&policies) } else { descriptor::table(&policies) };
        fs::write(out.join("token_policy.rs"), table)?;
        fs::write(out.join("token_descriptors.bin"), encoded)?;
        for include in includes {
            println!("cargo::rerun-if-changed={}", include.as_ref().display());
        }
        Ok(())
    }

    fn report_undeclared(&self, policies: &[crate::policy::MethodPolicy]) -> Result<()> {
        let undeclared: Vec<&str> =
            policies.iter().filter(|policy| policy.access == Access::Undeclared).map(|policy| &*policy.path).collect();
        if self.deny_undeclared && !undeclared.is_empty() {
            let error = format!("no m2m.auth.v1 policy is declared for {}", undeclared.join(", "));
            return Err(descriptor::Error(error).into());
        }
        for path in undeclared {
            println!("cargo::warning={}", descriptor::undeclared(path));
        }
        Ok(())
    }
}

/// Returns the remedy of the two usual mistakes in annotations.
fn hint(error: &str) -> &'static str {
    if error.contains("m2m.auth.v1") && error.contains("is not defined") {
        "\nadd to the file: import \"m2m/auth/v1/annotations.proto\";"
    } else if error.contains("m2m.auth.v1.Requirement") {
        "\nthe fields of a requirement: all_scopes, any_scopes, callers, max_token_age, stream_expiry, claims"
    } else {
        ""
    }
}

/// The include folder of `m2m/auth/v1/annotations.proto`.
const PROTO_INCLUDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
