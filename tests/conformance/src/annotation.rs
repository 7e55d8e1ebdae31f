//! The descriptors of a service with the annotations that a case brings, compiled in each run.

use prost::Message as _;
use prost_types::FileDescriptorProto;
use protox::{
    Compiler, Error,
    file::{ChainFileResolver, File, FileResolver, GoogleFileResolver},
};

use crate::case::{Annotation, Contract};

/// The service whose annotations are those of the case.
pub(crate) const SERVICE: &str = "conformance.annotated.v1.Annotated";

const ANNOTATED: &str = "conformance/annotated/v1/annotated.proto";
const ANNOTATIONS: &str = "m2m/auth/v1/annotations.proto";
const CONTRACT: &str = include_str!("../../../proto/m2m/auth/v1/annotations.proto");

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A descriptor set whose files are still encoded. To decode a file loses its custom options.
#[derive(Clone, PartialEq, prost::Message)]
struct EncodedFiles {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

/// The two files that are compiled: the contract, and the service.
struct Sources {
    annotations: String,
    annotated: String,
}

impl FileResolver for Sources {
    fn open_file(&self, name: &str) -> std::result::Result<File, Error> {
        match name {
            ANNOTATIONS => File::from_source(name, &self.annotations),
            ANNOTATED => File::from_source(name, &self.annotated),
            _ => Err(Error::file_not_found(name)),
        }
    }
}

/// Returns the encoded descriptors of the service and of its imports.
pub(crate) fn descriptors(annotation: &Annotation) -> Result<Vec<u8>> {
    let annotated = annotated(annotation);
    if annotation.contract == Contract::Current {
        return Ok(compile(CONTRACT.to_owned(), annotated)?.encode_to_vec());
    }
    let mut newer = compile(newer()?, annotated)?;
    if annotation.contract == Contract::NewerUnknown {
        let current = compile(
            CONTRACT.to_owned(),
            String::from(r#"syntax = "proto3"; import "m2m/auth/v1/annotations.proto";"#),
        )?;
        let old = current.file.into_iter().find(|file| is_contract(file)).ok_or("the contract was not compiled")?;
        newer.file.iter_mut().filter(|file| is_contract(file)).for_each(|file| file.clone_from(&old));
    }
    Ok(newer.encode_to_vec())
}

fn is_contract(file: &[u8]) -> bool {
    FileDescriptorProto::decode(file).is_ok_and(|file| file.name() == ANNOTATIONS)
}

/// Returns a later version of the contract: each message has one more field.
fn newer() -> Result<String> {
    let mut text = CONTRACT.to_owned();
    for message in ["ServiceAuthorization", "MethodAuthorization", "Requirement", "ClaimRequirement"] {
        let begin = format!("message {message} {{\n");
        if !text.contains(&begin) {
            return Err(format!("annotations.proto has no message {message}").into());
        }
        text = text.replace(&begin, &format!("{begin}  bool field_1000 = 1000;\n"));
    }
    Ok(text)
}

fn annotated(annotation: &Annotation) -> String {
    let option = |name: &str, value: Option<&String>| {
        value.map(|value| format!("option (m2m.auth.v1.{name}) = {value};")).unwrap_or_default()
    };
    let (service, method) =
        (option("service", annotation.service.as_ref()), option("method", annotation.method.as_ref()));
    format!(
        r#"syntax = "proto3";
        package conformance.annotated.v1;
        import "m2m/auth/v1/annotations.proto";
        message Message {{}}
        service Annotated {{
          {service}
          rpc Get(Message) returns (Message) {{ {method} }}
        }}"#
    )
}

fn compile(annotations: String, annotated: String) -> Result<EncodedFiles> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Sources { annotations, annotated });
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file(ANNOTATED)?;
    Ok(EncodedFiles::decode(compiler.encode_file_descriptor_set().as_slice())?)
}
