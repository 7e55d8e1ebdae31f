//! What a dependent's build script is told: where the annotations are, for compilers other than the helper's.

#[test]
fn dependents_are_told_where_the_annotations_are() {
    let annotations = std::path::Path::new(env!("ANNOTATIONS_INCLUDE")).join("m2m/auth/v1/annotations.proto");
    assert!(annotations.is_file(), "{}", annotations.display());
}
