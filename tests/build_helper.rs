//! Tests `token_proto::build` as an application's build script calls it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use std::{fs, path::Path};

use token_proto::build;

const HEADER: &str = r#"
    syntax = "proto3";
    package shop.v1;
    import "m2m/auth/v1/annotations.proto";
    message M { string note = 1; string pin = 2 [(m2m.auth.v1.sensitive) = true]; }
"#;

/// Compiles `service` below the header. Returns the folder with the generated files.
fn compile(service: &str, build: build::Build) -> (tempfile::TempDir, Result<(), String>) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("shop.proto"), format!("{HEADER}{service}")).unwrap();
    let result = build.out_dir(dir.path()).compile(&["shop.proto"], &[dir.path()]).map_err(|error| error.to_string());
    (dir, result)
}

fn generated(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap()
}

#[test]
fn one_call_writes_messages_policy_and_descriptors() {
    let (dir, result) = compile(
        r#"service Shop {
            option (m2m.auth.v1.service) = {audience: "shop" default_requirement: {all_scopes: "shop.read"}};
            rpc Read(M) returns (M);
            rpc Write(M) returns (M) { option (m2m.auth.v1.method).require = {
                any_scopes: ["shop.write", "shop.admin"] callers: "till-*" max_token_age: {seconds: 60} }; }
            rpc Hours(M) returns (M) { option (m2m.auth.v1.method).public = true; }
        }"#,
        build::configure().deny_undeclared(),
    );
    result.unwrap();
    let policies = token_proto::descriptor::policy(&fs::read(dir.path().join("token_descriptors.bin")).unwrap());
    let shown: Vec<String> = policies
        .unwrap()
        .into_iter()
        .map(|method| format!("{} {} {:?}", method.path, method.audience, method.access))
        .collect();
    assert_eq!(shown.len(), 3);
    assert!(shown[0].starts_with("/shop.v1.Shop/Read shop Require") && shown[0].contains("shop.read"), "{}", shown[0]);
    // The method's own option replaces the service's default.
    assert!(!shown[1].contains("shop.read") && shown[1].contains("till-*") && shown[1].contains("60s"), "{}", shown[1]);
    assert_eq!(shown[2], "/shop.v1.Shop/Hours shop Public");

    let table = generated(dir.path(), "token_policy.rs");
    assert!(table.contains(r#""/shop.v1.Shop/Write""#) && table.contains("Duration::new(60, 0)"), "{table}");
    assert!(generated(dir.path(), "shop.v1.rs").contains("pub struct M"));
}

#[test]
fn usual_mistakes_in_annotations_name_the_remedy() {
    let misspelt = r#"service Shop { rpc Read(M) returns (M) {
        option (m2m.auth.v1.method).require = {all_scopez: "shop.read"}; } }"#;
    let error = compile(misspelt, build::configure()).1.unwrap_err();
    assert!(error.contains("the fields of a requirement: all_scopes, any_scopes"), "{error}");

    let dir = tempfile::tempdir().unwrap();
    let forgotten = r#"syntax = "proto3"; package shop.v1; message M {}
        service Shop { option (m2m.auth.v1.service) = {audience: "shop"}; rpc Read(M) returns (M); }"#;
    fs::write(dir.path().join("shop.proto"), forgotten).unwrap();
    let error = build::configure().out_dir(dir.path()).compile(&["shop.proto"], &[dir.path()]).unwrap_err();
    assert!(error.to_string().contains(r#"import "m2m/auth/v1/annotations.proto""#), "{error}");
}

#[test]
fn the_generator_takes_a_programs_own_settings() {
    let build = build::configure()
        .generator(|tonic| tonic.type_attribute(".shop.v1", "#[derive(Eq)]"))
        .generator(|tonic| tonic.build_server(false).out_dir("/nowhere"));
    let (dir, result) = compile("service Shop { rpc Read(M) returns (M); }", build);
    result.unwrap();
    let code = generated(dir.path(), "shop.v1.rs");
    assert!(code.contains("#[derive(Eq)]") && code.contains("shop_client") && !code.contains("shop_server"), "{code}");
    // The output still has everything that the layers need, and a sensitive field is never shown.
    assert!(generated(dir.path(), "token_policy.rs").contains("/shop.v1.Shop/Read"));
    assert!(code.contains("impl ::core::fmt::Debug for M"), "{code}");
}

#[test]
fn the_table_says_which_sides_of_a_call_send_a_stream() {
    let (dir, result) = compile(
        r#"service Shop {
            option (m2m.auth.v1.service) = {default_requirement: {}};
            rpc Upload(stream M) returns (M);
            rpc Follow(M) returns (stream M);
            rpc Keep(M) returns (M) { option (m2m.auth.v1.method).require = {
                stream_expiry: STREAM_EXPIRY_ALLOW }; }
        }"#,
        build::configure(),
    );
    result.unwrap();
    let table = generated(dir.path(), "token_policy.rs");
    let row = |method: &str| table.lines().find(|line| line.contains(method)).unwrap().to_owned();
    assert!(row("/Upload").contains("MethodKind::ClientStreaming)"), "{table}");
    assert!(row("/Follow").contains("MethodKind::ServerStreaming)"), "{table}");
    assert!(row("/Keep").contains("StreamExpiry::Allow,") && row("/Keep").contains("MethodKind::Unary)"), "{table}");
}

#[test]
fn a_sensitive_field_of_an_application_is_not_printed() {
    let (dir, result) = compile("", build::configure());
    result.unwrap();
    let source = generated(dir.path(), "shop.v1.rs");
    let debug = source.split("impl ::core::fmt::Debug for M").nth(1).expect("a Debug of our own");
    assert!(debug.contains("&self.note") && !debug.contains("self.pin"), "{debug}");
}

#[test]
fn a_service_without_annotations_takes_its_name_as_audience_and_is_undeclared() {
    let (dir, result) = compile("service Shop { rpc Read(M) returns (M); }", build::configure());
    result.unwrap();
    let table = generated(dir.path(), "token_policy.rs");
    assert!(table.contains("Access::Undeclared") && table.contains(r#""shop.v1.Shop""#), "{table}");
}

#[test]
fn an_undeclared_method_is_an_error_when_asked() {
    let (_dir, result) = compile("service Shop { rpc Read(M) returns (M); }", build::configure().deny_undeclared());
    assert!(result.unwrap_err().contains("/shop.v1.Shop/Read"));
}

#[test]
fn public_false_leaves_a_method_undeclared() {
    let service = "service Shop { rpc Read(M) returns (M) { option (m2m.auth.v1.method).public = false; } }";
    let (_dir, result) = compile(service, build::configure().deny_undeclared());
    assert!(result.unwrap_err().contains("/shop.v1.Shop/Read"));
}

#[test]
fn a_method_that_is_public_and_requires_a_token_is_an_error() {
    let default = r#"option (m2m.auth.v1.service) = {default_requirement: {all_scopes: "shop.read"}};"#;
    for options in [
        r#"option (m2m.auth.v1.method).require = {all_scopes: "admin"}; option (m2m.auth.v1.method).public = true;"#,
        r#"option (m2m.auth.v1.method).public = true; option (m2m.auth.v1.method).require = {all_scopes: "admin"};"#,
        r#"option (m2m.auth.v1.method) = {public: true require: {all_scopes: "admin"}};"#,
        "option (m2m.auth.v1.method) = {require: {} public: true};",
    ] {
        for default in [default, ""] {
            let service = format!("service Shop {{ {default} rpc Read(M) returns (M) {{ {options} }} }}");
            let (_dir, result) = compile(&service, build::configure());
            let error = result.unwrap_err();
            assert!(error.contains("shop.v1.Shop.Read") && error.contains("public"), "{options}: {error}");
        }
    }
}

#[test]
fn public_false_beside_a_requirement_is_the_requirement() {
    let options = "option (m2m.auth.v1.method) = {public: false require: {}};";
    let service = format!("service Shop {{ rpc Read(M) returns (M) {{ {options} }} }}");
    let (dir, result) = compile(&service, build::configure().deny_undeclared());
    result.unwrap();
    assert!(generated(dir.path(), "token_policy.rs").contains("Access::Require"));
}

#[test]
fn a_contradiction_in_a_descriptor_set_is_an_error() {
    // Another library's annotations, with an option encoded by hand: field 50880 holds both `public` and
    // `require`.
    let (dir, result) = compile(
        "service Shop { rpc Read(M) returns (M) { option (m2m.auth.v1.method) = {require: {callers: \"aa\"}}; } }",
        build::configure(),
    );
    result.unwrap();
    let mut encoded = fs::read(dir.path().join("token_descriptors.bin")).unwrap();
    let require = [0x12, 0x04, 0x1a, 0x02, b'a', b'a'];
    let place = encoded.windows(require.len()).position(|window| window == require).unwrap();
    // The same length: `public: true`, and a requirement that is two bytes shorter.
    encoded[place..place + require.len()].copy_from_slice(&[0x08, 0x01, 0x12, 0x02, 0x28, 0x01]);
    let error = token_proto::descriptor::policy(&encoded).unwrap_err().to_string();
    assert!(error.contains("shop.v1.Shop.Read") && error.contains("public"), "{error}");
}

#[test]
fn a_field_that_this_version_does_not_know_is_an_error() {
    let (dir, result) = compile(
        "service Shop { rpc Read(M) returns (M) { option (m2m.auth.v1.method) = {require: {callers: \"aa\"}}; } }",
        build::configure(),
    );
    result.unwrap();
    let mut encoded = fs::read(dir.path().join("token_descriptors.bin")).unwrap();
    let require = [0x12, 0x04, 0x1a, 0x02, b'a', b'a'];
    let place = encoded.windows(require.len()).position(|window| window == require).unwrap();
    // Field 7 of a requirement: a later version may demand more of a token by it.
    encoded[place + 2] = 0x3a;
    let error = token_proto::descriptor::policy(&encoded).unwrap_err().to_string();
    assert!(error.contains("shop.v1.Shop.Read") && error.contains("number 7"), "{error}");
}

#[test]
fn identify_belongs_to_public_methods_alone() {
    let read = |options: &str| {
        let service =
            format!("service Shop {{ rpc Read(M) returns (M) {{ option (m2m.auth.v1.method) = {options}; }} }}");
        let (dir, result) = compile(&service, build::configure().deny_undeclared());
        result.map(|()| generated(dir.path(), "token_policy.rs"))
    };
    assert!(read("{public: true identify: true}").unwrap().contains("Access::Identify"));
    assert!(read("{public: true identify: false}").unwrap().contains("Access::Public"));
    for (options, expected) in [
        ("{identify: true}", "declare public too"),
        ("{identify: true require: {}}", "this one requires a token"),
        ("{identify: true public: true require: {}}", "both public and requires a token"),
    ] {
        let error = read(options).unwrap_err();
        assert!(error.contains("shop.v1.Shop.Read") && error.contains(expected), "{options}: {error}");
    }
}

#[test]
fn a_reader_without_identify_takes_the_method_for_public() {
    /// The annotation before the field `identify`.
    #[derive(prost::Message)]
    struct Before {
        #[prost(bool, tag = "1")]
        public: bool,
        #[prost(message, optional, tag = "2")]
        require: Option<token_proto::auth::v1::Requirement>,
    }
    let now = token_proto::auth::v1::MethodAuthorization { public: true, require: None, identify: true };
    let read: Before = prost::Message::decode(&*prost::Message::encode_to_vec(&now)).unwrap();
    assert!(read.public && read.require.is_none());
}

#[test]
fn claims_and_their_values_are_in_the_table() {
    let claims = r#"claims: {claim: "tenant" values: "acme"} claims: {claim: "/roles/shop" values: ["a", "b"]}"#;
    let (dir, result) = compile(
        &format!(
            "service Shop {{ rpc Read(M) returns (M) {{ option (m2m.auth.v1.method).require = {{{claims}}}; }} }}"
        ),
        build::configure(),
    );
    result.unwrap();
    let (table, cow) = (generated(dir.path(), "token_policy.rs"), "::std::borrow::Cow::Borrowed");
    for (claim, values) in [("tenant", &["acme"] as &[_]), ("/roles/shop", &["a", "b"])] {
        let values: Vec<_> = values.iter().map(|value| format!("{cow}({value:?})")).collect();
        let row = format!("ClaimRequirement::new({cow}({claim:?}), {cow}(&[{}]))", values.join(", "));
        assert!(table.contains(&row), "{row} in {table}");
    }
}

#[test]
fn the_table_holds_no_service_of_an_import() {
    let dir = tempfile::tempdir().unwrap();
    let other = r#"syntax = "proto3"; package other.v1; message N {} service Other { rpc Do(N) returns (N); }"#;
    fs::write(dir.path().join("other.proto"), other).unwrap();
    let shop = r#"
        import "other.proto";
        service Shop { rpc Read(other.v1.N) returns (M) { option (m2m.auth.v1.method).public = true; } }
    "#;
    fs::write(dir.path().join("shop.proto"), format!("{HEADER}{shop}")).unwrap();
    let build = |protos: &[&str]| {
        build::configure()
            .deny_undeclared()
            .out_dir(dir.path())
            .compile(protos, &[dir.path()])
            .map_err(|e| e.to_string())
    };
    build(&["shop.proto"]).unwrap();
    let table = generated(dir.path(), "token_policy.rs");
    assert!(table.contains("/shop.v1.Shop/Read") && !table.contains("other.v1"), "{table}");
    // A named file must declare its methods.
    for protos in [&["shop.proto", "other.proto"][..], &["other.proto", "shop.proto"]] {
        assert!(build(protos).unwrap_err().contains("/other.v1.Other/Do"));
    }
}

#[test]
fn what_cannot_be_enforced_is_refused_with_its_place() {
    for (requirement, expected) in [
        (r#"{all_scopes: "two words"}"#, "not a scope"),
        (r#"{any_scopes: ""}"#, "not a scope"),
        (r#"{callers: "a*b"}"#, "final"),
        (r#"{callers: ""}"#, "client ID"),
        ("{max_token_age: {seconds: -1}}", "negative"),
        (r#"{claims: {claim: "tenant"}}"#, "no allowed values"),
        (r#"{claims: {values: "acme"}}"#, "not the name of a claim"),
        (r#"{claims: {claim: "/" values: "acme"}}"#, "not the name of a claim"),
        (r#"{claims: {claim: "/realm~access" values: "admin"}}"#, "not a JSON Pointer"),
        (r#"{claims: {claim: "scope" values: "shop.read"}}"#, "use all_scopes"),
        (r#"{claims: {claim: "/client_id" values: "orders"}}"#, "use callers"),
        (r#"{claims: {claim: "/scp/0" values: "shop.read"}}"#, "use all_scopes"),
        (r#"{claims: {claim: "appid" values: "orders"}}"#, "use callers"),
    ] {
        let (_dir, result) = compile(
            &format!(
                "service Shop {{ rpc Read(M) returns (M) {{ option (m2m.auth.v1.method).require = {requirement}; }} }}"
            ),
            build::configure(),
        );
        let error = result.unwrap_err();
        assert!(error.contains(expected) && error.contains("shop.v1.Shop.Read"), "{requirement}: {error}");
    }
}

#[test]
fn a_mistake_in_a_proto_names_file_and_line() {
    let (_dir, result) = compile("message N { string a = 1; string b = 1; }", build::configure());
    let error = result.unwrap_err();
    assert!(error.contains("shop.proto") && error.contains('6'), "{error}");
}

#[test]
fn an_undeclared_method_is_a_build_warning() {
    let other = "a_service_without_annotations_takes_its_name_as_audience_and_is_undeclared";
    let this = std::env::current_exe().unwrap();
    let output = std::process::Command::new(this).args(["--exact", other, "--nocapture"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("cargo::warning=/shop.v1.Shop/Read declares no"), "{printed}");
}

#[test]
fn options_of_prost_pass_through() {
    let build = build::configure().prost(|prost| {
        prost.enable_type_names();
    });
    let (dir, result) = compile("service Shop { rpc Read(M) returns (M); }", build);
    result.unwrap();
    let source = generated(dir.path(), "shop.v1.rs");
    assert!(source.contains("impl ::prost::Name for M"), "{source}");
}

#[test]
fn policy_table_is_written_from_a_descriptor_set_alone() {
    let (dir, result) = compile(
        "service Shop { rpc Read(M) returns (M) { option (m2m.auth.v1.method).public = true; } }",
        build::configure(),
    );
    result.unwrap();
    let encoded = fs::read(dir.path().join("token_descriptors.bin")).unwrap();
    let policy = token_proto::descriptor::policy_of_files(&encoded, &["shop.proto"]).unwrap();
    assert_eq!(token_proto::descriptor::table(&policy), generated(dir.path(), "token_policy.rs"));
    // The annotations are an import, and have no service.
    let imported = token_proto::descriptor::policy_of_files(&encoded, &["m2m/auth/v1/annotations.proto"]).unwrap();
    assert!(imported.is_empty());
    let absent = token_proto::descriptor::policy_of_files(&encoded, &["proto/shop.proto"]).unwrap_err();
    assert!(absent.to_string().contains("proto/shop.proto"), "{absent}");
}
