//! The build script metadata for dependents: the path of the annotations, for other Protobuf compilers.

#[test]
fn dependents_are_told_where_the_annotations_are() {
    let annotations = std::path::Path::new(env!("ANNOTATIONS_INCLUDE")).join("m2m/auth/v1/annotations.proto");
    assert!(annotations.is_file(), "{}", annotations.display());
}
