//! The configuration: all mistakes are reported at once, each with its position, the problem and the allowed
//! values.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{fs, path::Path, time::Duration};

use token_interceptor::test_util::TestIssuer;
use token_issuer::client_authentication::assertion::Reach;
use token_server::config::{AuditTarget, Config, ConfigError, LogFormat, Place};

const EXAMPLE: &str = include_str!("../deploy/token-server.toml");

/// The example with its files in a folder where they exist.
fn example(folder: &Path) -> String {
    for name in ["tls.crt", "tls.key", "client-ca.pem"] {
        fs::write(folder.join(name), "").unwrap();
    }
    for name in ["sealing.key", "pepper.key"] {
        fs::write(folder.join(name), "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n").unwrap();
    }
    fs::write(folder.join("inventory.binpb"), token_proto::FILE_DESCRIPTOR_SET).unwrap();
    // An EC key in place of the RSA key, which takes long to generate.
    fs::write(folder.join("rsa.pem"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    EXAMPLE.replace("/etc/token-server", folder.to_str().unwrap())
}

/// The example with a key to import.
fn with_import(folder: &Path, algorithm: &str, pem: &str) -> String {
    let file = folder.join("import.pem");
    fs::write(&file, pem).unwrap();
    format!("{}\n[[keys.import]]\nalgorithm = \"{algorithm}\"\nfile = \"{}\"\n", example(folder), file.display())
}

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::read(Some((Path::new("a.toml"), text)), variables)
}

fn shown(error: &ConfigError) -> Vec<String> {
    error.mistakes().iter().map(ToString::to_string).collect()
}

/// Clients read the identifier in the same way.
#[test]
fn an_issuer_that_clients_would_not_read_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let text = example(folder.path());
    for (url, problem) in [
        ("https://bücher.example", "Punycode"),
        ("https://127.1", "neither a DNS name nor an IP address"),
        (" https://tokens.example.com", "does not begin with https://"),
        ("https:tokens.example.com", "does not begin with https://"),
        ("https://:hunter2@tokens.example.com", "user information"),
        ("https://tokens.example.com?tenant=a", "has a query"),
        ("https://tokens.example.com#a", "has a fragment"),
        ("http://tokens.example.com", "is not https"),
    ] {
        let error = read(&text, &[("TOKEN_SERVER__ISSUER__URL", url)]).unwrap_err();
        let all = shown(&error).join("\n");
        assert!(all.contains("issuer.url: ") && all.contains(problem) && !all.contains("hunter2"), "{url}: {all}");
    }
}

#[test]
fn no_mistake_about_a_trusted_issuer_quotes_a_password() {
    let folder = tempfile::tempdir().unwrap();
    for address in [
        "issuer = \"https://user:hunter2@idp.example\"",
        "issuer = \"https://idp.example\"\njwks_uri = \"https://user:hunter2@idp.example/jwks\"",
        "issuer = \"https://idp.example\"\njwks_uri = \"ftp://user:hunter2@idp.example/jwks\"",
    ] {
        let rules = "[trusted_issuer.client_authentication]\n";
        let text = format!("{}\n[[trusted_issuer]]\n{address}\n{rules}", example(folder.path()));
        let all = shown(&read(&text, &[]).unwrap_err()).join("\n");
        assert!(all.contains("keys cannot be fetched from the URL: ") && !all.contains("hunter2"), "{address}: {all}");
    }
}

#[test]
fn a_misspelt_variable_is_a_mistake_with_the_nearest_name() {
    let folder = tempfile::tempdir().unwrap();
    let text = example(folder.path());
    let wrong = [
        ("TOKEN_SERVER__STORE__ULR", "store.ulr: there is no such setting; did you mean \"url\"?"),
        ("TOKEN_SERVER__STROE__URL", "stroe: there is no such section; did you mean \"store\"?"),
        ("TOKEN_SERVER__TOKENS__DEFAULT_LIFETIM", "did you mean \"default_lifetime\"?"),
    ];
    for (variable, expected) in wrong {
        let mistakes = shown(&read(&text, &[(variable, "1")]).unwrap_err());
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].contains(expected), "{expected}: {}", mistakes[0]);
        let allowed = mistakes[0].split_once("allowed: ").unwrap().1;
        let mut names: Vec<_> = allowed.lines().next().unwrap().split(", ").collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "each is named once: {allowed}");
    }
}

#[test]
fn example_file_is_valid_and_shows_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let text = example(folder.path());
    let as_it_is = read(&text, &[]).unwrap();
    // Settings without a default, or with one that depends on the machine.
    let unset = ["client_ca", "#state", "threads", "endpoint", "certificate_authority", "resource_attributes"];
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            // Prose begins with a space, a setting does not.
            Some(setting) if !setting.starts_with(' ') && !unset.iter().any(|unset| line.contains(unset)) => setting,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let spelt_out = read(&uncommented.replace("\"RS256\"", "\"ES256\""), &[]).unwrap();
    assert_eq!((spelt_out.keys.import.len(), spelt_out.tokens.audiences.len()), (1, 1));
    assert_eq!(spelt_out.quota.clients.len(), 1);
    assert!(as_it_is.ext_authz.is_none() && spelt_out.ext_authz.is_some());
    assert!(spelt_out.registration.is_none());
    assert_eq!(spelt_out.trusted_issuers.len(), 1);
    let comparable = |config: &Config| {
        let mut config = config.clone();
        config.keys.import.clear();
        config.secret_files.retain(|file| file.setting != "keys.import.file");
        config.tokens.audiences.clear();
        config.quota.clients.clear();
        config.ext_authz = None;
        config.trusted_issuers.clear();
        format!("{config:?}")
    };
    assert_eq!(comparable(&as_it_is), comparable(&spelt_out));
}

/// A configuration with client registration, and further lines in the token's section.
fn registering(folder: &Path, token: &str, grant: &str) -> String {
    let example = example(folder).replace("[registration]", "[registration]\nenabled = true");
    format!(
        "{example}\n[[registration.initial_access_token]]\n{token}\n\
         [[registration.initial_access_token.grant]]\n{grant}\n"
    )
}

const TOKEN: &str = r#"name = "ci"
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
expires = "2030-01-31T00:00:00Z"
authentication_methods = ["private_key_jwt"]"#;
const GRANT: &str = r#"audience = "inventory"
scopes = ["inventory.read"]"#;

#[test]
fn clients_register_themselves_only_where_the_operator_says_how() {
    let folder = tempfile::tempdir().unwrap();
    assert!(read(&example(folder.path()), &[]).unwrap().registration.is_none());
    let settings = read(&registering(folder.path(), TOKEN, GRANT), &[]).unwrap().registration.unwrap();
    assert_eq!((settings.tokens.len(), settings.clients_per_hour), (1, 100));
    // Configured, but not enabled.
    let off = registering(folder.path(), TOKEN, GRANT).replace("enabled = true", "enabled = false");
    assert!(read(&off, &[]).unwrap().registration.is_none());
}

#[test]
fn an_initial_access_token_that_says_too_little_or_too_much_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("initial.token");
    fs::write(&file, "short").unwrap();
    let short = TOKEN.replace(
        "sha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"",
        &format!("token_file = {:?}", file.to_str().unwrap()),
    );
    let without = |line: &str| TOKEN.lines().filter(|text| !text.starts_with(line)).collect::<Vec<_>>().join("\n");
    let cases = [
        (without("name"), GRANT.to_owned(), "name: it is missing"),
        (without("sha256"), GRANT.to_owned(), "sha256: it is missing"),
        (without("expires"), GRANT.to_owned(), "expires: it is missing"),
        (without("authentication_methods"), GRANT.to_owned(), "authentication_methods: it is missing"),
        (short, GRANT.to_owned(), "token_file: the token is short enough to be guessed"),
        (TOKEN.replace("e3b0", "zzzz"), GRANT.to_owned(), "sha256: it is not a SHA-256 in hexadecimal digits"),
        (
            TOKEN.replace("\"private_key_jwt\"", ""),
            GRANT.to_owned(),
            "authentication_methods: at least one is required",
        ),
        (TOKEN.replace("private_key_jwt", "none"), GRANT.to_owned(), "\"none\" is not a supported method of client"),
        (TOKEN.replace("2030-01-31T00:00:00Z", "soon"), GRANT.to_owned(), "expires: \"soon\" is not a time"),
        (
            TOKEN.to_owned(),
            GRANT.replace("inventory\"", "m2m.admin.v1\""),
            "grant.audience: a client cannot register itself",
        ),
        (TOKEN.to_owned(), format!("{GRANT}\ndefault_scopes = [\"x\"]"), "\"x\" is not among the scopes"),
        (TOKEN.to_owned(), "audience = \"inventory\"".to_owned(), "grant.scopes: it is missing"),
    ];
    for (token, grant, expected) in cases {
        let error = read(&registering(folder.path(), &token, &grant), &[]).unwrap_err();
        let all = shown(&error).join("\n");
        assert!(all.contains(expected), "{expected}:\n{all}");
    }
    let no_client = example(folder.path()).replace("[registration]", "[registration]\nenabled = true");
    let all = shown(&read(&no_client, &[]).unwrap_err()).join("\n");
    assert!(all.contains("registration.enabled: no client could register"), "{all}");
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let text = r#"
[issuer]
url = "http://tokens.example.com"

[listen]
address = "0.0.0.0"

[tokens]
defualt_lifetime = "5m"
maximum_lifetime = 3600
header_bytes = 1

[telemetry]
  audit = "somewhere"

[store]
url = "mysql://user@db/tokens"

[limts]
connections = 5
"#;
    let variables = [
        ("TOKEN_SERVER__LIMITS__CONNECTIONS", "many"),
        ("TOKEN_SERVER__STORE__URL", "mysql://user:hunter2@db/tokens"),
        ("TOKEN_SERVER__SECRETS__PEPPER", "hunter2-is-no-key"),
    ];
    let error = read(text, &variables).unwrap_err();
    let all = shown(&error).join("\n");
    for expected in [
        r#"a.toml:3:1: issuer.url: "http://tokens.example.com" is not https"#,
        r#"a.toml:6:1: listen.address: "0.0.0.0" is not an address and port"#,
        r#"a.toml:9:1: tokens.defualt_lifetime: there is no such setting; did you mean "default_lifetime"?"#,
        "a.toml:10:1: tokens.maximum_lifetime: 3600 has no unit",
        "a.toml:11:1: tokens.header_bytes: 1 is out of range\n    allowed: from 512 to 65536",
        r#"a.toml:14:3: telemetry.audit: "somewhere" is not a destination for the audit stream"#,
        "TOKEN_SERVER__STORE__URL: store.url: it is not the URL of a supported store",
        r#"a.toml:19:2: limts: there is no such section; did you mean "limits"?"#,
        r#"TOKEN_SERVER__LIMITS__CONNECTIONS: limits.connections: "many" is not a whole number"#,
        "not set: keys.sealing_key_file: it is missing",
        "TOKEN_SERVER__SECRETS__PEPPER: secrets.pepper: not a 256-bit key",
    ] {
        assert!(all.contains(expected), "{expected}\nnot in\n{all}");
    }
    // A rejected value may still be a secret.
    for shown in [&all, &error.to_string(), &format!("{error:?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert!(error.to_string().starts_with("the configuration has 11 mistakes:"), "{error}");
}

/// The settings of a trusted issuer that are not about the exchange of its tokens.
const OF_THE_ISSUER: [&str; 8] = [
    "audience",
    "jwks_uri",
    "jwks_file",
    "private_addresses",
    "required_claims",
    "algorithms",
    "types",
    "type_required",
];

/// The tables of a trusted issuer whose tokens the client `gateway` exchanges.
fn trusted(issuer: &str, settings: &str) -> String {
    let of_the_issuer = |line: &&str| OF_THE_ISSUER.iter().any(|name| line.split('=').next().unwrap().trim() == *name);
    let (own, door): (Vec<&str>, Vec<&str>) = settings.lines().partition(of_the_issuer);
    format!(
        "[[trusted_issuer]]\nissuer = \"{issuer}\"\naudience = \"us\"\n{}\n\
         [trusted_issuer.token_exchange]\nclients = [\"gateway\"]\n{}\n",
        own.join("\n"),
        door.join("\n")
    )
}

const DOOR: &str = "[trusted_issuer.client_authentication]";

/// The example with a trusted issuer that has `settings` beside the required ones.
fn with_provider(folder: &Path, settings: &str) -> Result<Config, ConfigError> {
    let provider = trusted("https://login.example", settings);
    read(&format!("{}\n{provider}", example(folder)), &[])
}

#[test]
fn an_identity_provider_is_trusted_for_what_is_said_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let settings = "subject_prefixes = [\"a:\"]\nrequired_claims = { tenant = \"acme\", level = [1, 2], mfa = true }\n\
                    grants = { inventory = [\"inventory.read\"] }";
    let config = with_provider(folder.path(), settings).unwrap();
    let [provider] = config.trusted_issuers.as_slice() else { unreachable!("one was configured") };
    assert_eq!((provider.types.join(" ").as_str(), provider.untyped), ("JWT", false));
    assert_eq!(provider.required_claims.len(), 3);
    let rules = provider.exchange.as_ref().unwrap();
    assert!(rules.subjects.allows("a:x") && !rules.subjects.allows("b"));
    assert_eq!(rules.namespace.name("x"), "https://login.example#x");
    assert!(rules.copied_claims.is_empty() && rules.grants.is_some());
}

#[test]
fn the_former_table_of_trusted_issuers_names_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let former = "[[token_exchange.trusted_issuer]]\nissuer = \"https://login.example\"\naudience = \"us\"\n\
                  clients = [\"gateway\"]\nany_subject = true";
    let mistakes = shown(&read(&format!("{}\n{former}", example(folder.path())), &[]).unwrap_err());
    let all = mistakes.join("\n");
    for expected in ["token_exchange: ", "[[trusted_issuer]]", "[trusted_issuer.token_exchange]", "subject_template"] {
        assert!(all.contains(expected), "{expected}\nnot in\n{all}");
    }
    assert_eq!(mistakes.len(), 1, "{all}");
}

#[test]
fn an_issuer_is_trusted_for_nothing_without_a_door() {
    let folder = tempfile::tempdir().unwrap();
    let closed = "[[trusted_issuer]]\nissuer = \"https://login.example\"";
    let all = shown(&read(&format!("{}\n{closed}", example(folder.path())), &[]).unwrap_err()).join("\n");
    assert!(all.contains("its tokens are accepted for nothing"), "{all}");
}

#[test]
fn an_issuer_authenticates_clients_only_by_a_table_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let with = |settings: &str| {
        let issuer = "[[trusted_issuer]]\nissuer = \"https://cluster.example/\"\n\
                      [trusted_issuer.client_authentication]";
        read(&format!("{}\n{issuer}\n{settings}\n", example(folder.path())), &[])
    };
    let config = with("").unwrap();
    let [issuer] = config.trusted_issuers.as_slice() else { unreachable!("one was configured") };
    let rules = issuer.client_authentication.as_ref().unwrap();
    assert_eq!((rules.max_age, rules.tokens_may_outlive), (Duration::from_secs(3600), false));
    assert!(issuer.exchange.is_none());
    let exchanged = with_provider(folder.path(), "any_subject = true").unwrap();
    assert!(exchanged.trusted_issuers[0].client_authentication.is_none());
    for (settings, expected) in [
        ("max_age = \"1s\"", "trusted_issuer.client_authentication.max_age: 1s is out of range"),
        ("max_age = \"2days\"", "max_age: 2days is out of range"),
        ("clients = [\"a\"]", "trusted_issuer.client_authentication.clients: there is no such setting"),
    ] {
        let all = shown(&with(settings).unwrap_err()).join("\n");
        assert!(all.contains(expected), "{expected}\nnot in\n{all}");
    }
}

#[test]
fn a_platform_knows_its_issuers_and_the_form_of_its_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let with = |platform: &str, issuer: &str| {
        let issuer = format!(
            "[[trusted_issuer]]\nplatform = \"{platform}\"\nissuer = \"{issuer}\"\n\
             [trusted_issuer.client_authentication]"
        );
        read(&format!("{}\n{issuer}\n", example(folder.path())), &[]).map_err(|error| shown(&error).join("\n"))
    };
    let github = "https://token.actions.githubusercontent.com";
    for (platform, issuer, untyped, minutes) in
        [("kubernetes", "https://cluster.example/", true, 60), ("github", github, false, 10)]
    {
        let config = with(platform, issuer).unwrap();
        let [trusted] = config.trusted_issuers.as_slice() else { unreachable!("one was configured") };
        assert_eq!(trusted.platform.map(|platform| platform.name()), Some(platform));
        let max_age = trusted.client_authentication.as_ref().unwrap().max_age;
        assert_eq!((trusted.untyped, max_age), (untyped, Duration::from_secs(60 * minutes)));
    }
    // A wrong platform does not turn off the rules of the right one.
    let all = with("gitlab", github).unwrap_err();
    assert!(all.contains("platform: ") && all.contains("is an issuer of github, and not of gitlab"), "{all}");
    let all = with("github", "https://cluster.example/").unwrap_err();
    assert!(all.contains("is not an issuer of github") && all.contains(github), "{all}");
    let all = with("jenkins", github).unwrap_err();
    assert!(all.contains("\"jenkins\" is not a known platform") && all.contains("kubernetes, github"), "{all}");
}

/// A forgotten `platform` must not turn off its rules.
#[test]
fn an_unmistakable_issuer_has_the_rules_of_its_platform() {
    let folder = tempfile::tempdir().unwrap();
    for (issuer, platform) in [
        ("https://token.actions.githubusercontent.com", Some("github")),
        ("https://agent.buildkite.com", Some("buildkite")),
        ("https://accounts.google.com", Some("google")),
        ("https://abc123.tokens.sts.global.api.aws", Some("aws")),
        ("https://login.microsoftonline.com/72f988bf/v2.0", Some("azure")),
        ("https://gitlab.com", None),
        ("https://cluster.example/", None),
    ] {
        let door = "[trusted_issuer.client_authentication]";
        let text = format!("{}\n[[trusted_issuer]]\nissuer = \"{issuer}\"\n{door}\n", example(folder.path()));
        let config = read(&text, &[]).unwrap();
        assert_eq!(config.trusted_issuers[0].platform.map(|platform| platform.name()), platform, "{issuer}");
    }
}

#[test]
fn a_trust_domain_needs_its_bundle_and_proves_clients_alone() {
    let folder = tempfile::tempdir().unwrap();
    let with = |settings: &str| {
        let issuer = format!("[[trusted_issuer]]\nissuer = \"spiffe://example.org\"\n{settings}\n");
        read(&format!("{}\n{issuer}", example(folder.path())), &[]).map_err(|error| shown(&error).join("\n"))
    };
    let named = |issuer: &str| {
        let text = format!("[[trusted_issuer]]\nissuer = \"{issuer}\"\njwks_uri = \"https://s.example/b\"\n{DOOR}\n");
        read(&format!("{}\n{text}", example(folder.path())), &[])
    };
    assert!(named("spiffe://example.org").is_ok());
    for issuer in
        ["spiffe://Example.org", "spiffe://example.org/", "spiffe://example.org:443", "spiffe://a@b", "spiffe://"]
    {
        let mistakes = shown(&named(issuer).unwrap_err());
        assert!(
            mistakes.len() == 1 && mistakes[0].contains("issuer: ") && mistakes[0].contains("trust domain"),
            "{mistakes:?}"
        );
    }
    let door = DOOR;
    let config = with(&format!("jwks_uri = \"https://spire.example.org/bundle\"\n{door}")).unwrap();
    assert_eq!(config.trusted_issuers[0].platform.map(|platform| platform.name()), Some("spiffe"));
    let p256 = r#"{"kty":"EC","crv":"P-256","kid":"a","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM""#;
    // SPIFFE JWT-SVID section 2.1 has no EdDSA.
    let ed25519 = r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
    let bundle = folder.path().join("bundle.json");
    for (key, public_key_use, usable) in
        [(p256, "jwt-svid", true), (p256, "x509-svid", false), (p256, "sig", false), (ed25519, "jwt-svid", false)]
    {
        fs::write(&bundle, format!(r#"{{"keys":[{key},"use":"{public_key_use}"}}]}}"#)).unwrap();
        let read = with(&format!("jwks_file = \"{}\"\n{door}", bundle.display()));
        assert_eq!(read.is_ok(), usable, "{public_key_use}");
    }
    for (settings, expected) in [
        (door.to_owned(), "jwks_uri: a trust domain has no discovery"),
        (
            format!("jwks_uri = \"https://s.example/b\"\nalgorithms = [\"ES256\", \"EdDSA\"]\n{door}"),
            "algorithms: a JWT-SVID is not signed with EdDSA\n    allowed: ES256, ES384, ",
        ),
        (
            format!(
                "jwks_uri = \"https://s.example/b\"\n{door}\n[trusted_issuer.token_exchange]\nclients = [\"a\"]\nany_subject = true"
            ),
            "token_exchange: a JWT-SVID proves a client",
        ),
    ] {
        let all = with(&settings).unwrap_err();
        assert!(all.contains(expected), "{expected}\nnot in\n{all}");
    }
}

#[test]
fn the_audience_of_a_trusted_issuer_is_this_issuer_by_default() {
    let folder = tempfile::tempdir().unwrap();
    let settings = trusted("https://login.example", "any_subject = true").replace("audience = \"us\"\n", "");
    let config = read(&format!("{}\n{settings}", example(folder.path())), &[]).unwrap();
    assert_eq!(config.trusted_issuers[0].audience, "https://tokens.example.com");
}

#[test]
fn mistakes_about_an_identity_provider_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let jwks = folder.path().join("jwks.json");
    fs::write(&jwks, r#"{"keys":[]}"#).unwrap();
    let jwks_file = format!("any_subject = true\njwks_file = \"{}\"", jwks.display());
    for (settings, expected) in [
        ("", "trusted_issuer.token_exchange.subjects: the subjects whose tokens may be exchanged are missing"),
        ("any_subject = true\nsubjects = [\"a\"]", "any_subject: it contradicts the listed subjects"),
        ("any_subject = true\nsubject_template = \"x\"", "subject_template: \"x\" is not a prefix followed by {sub}"),
        (
            "any_subject = true\ncopied_claims = [\"scope\"]",
            "copied_claims: scope is a claim that only this server sets",
        ),
        (
            "any_subject = true\nrequired_claims = { x = 1.5 }",
            "required_claims.x: the number 1.5 is not the value of a claim",
        ),
        ("any_subject = true\nrequired_claims = { x = [] }", "required_claims.x: it has no alternatives"),
        ("any_subject = true\ngrants = { inventory = [\"a b\"] }", "grants: a scope is"),
        ("any_subject = true\nalgorithms = []", "algorithms: at least one is required"),
        ("any_subject = true\njwks_uri = \"http://login.example/keys\"", "jwks_uri: keys cannot be fetched from"),
        ("any_subject = true\njwks_uri = \"https://10.0.0.1/keys\"", "jwks_uri: keys cannot be fetched from"),
        (&jwks_file, "jwks_file: it contains no public signing key"),
    ] {
        let all = shown(&with_provider(folder.path(), settings).unwrap_err()).join("\n");
        assert!(all.contains(expected), "{expected}\nnot in\n{all}");
    }
    let private = "any_subject = true\nprivate_addresses = true\njwks_uri = \"https://10.0.0.1/keys\"";
    assert!(with_provider(folder.path(), private).is_ok());
}

/// One mistake causes no other one, and hides no other one.
#[test]
fn each_mistake_about_a_trusted_issuer_is_told_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let with = |settings: &str, exchange: &str| {
        let issuer = format!("[[trusted_issuer]]\n{settings}\n[trusted_issuer.token_exchange]\n{exchange}");
        shown(&read(&format!("{}\n{issuer}\n", example(folder.path())), &[]).unwrap_err())
    };
    let known = "issuer = \"https://login.example\"";
    let keys = folder.path().join("jwks.json");
    fs::write(&keys, TestIssuer::new("https://login.example").jwks()).unwrap();
    let any = "clients = [\"a\"]\nany_subject = true";
    let every = "types = [\"JWT\"]\ntype_required = true\ntoken_bytes = 2048\nalgorithms = [\"ES256\"]\n\
                 required_claims = { a = \"1\" }\nca_file = \"/nowhere\"";
    for (settings, exchange, expected) in [
        ("", any, &["issuer: it is missing"][..]),
        (known, "any_subject = true", &["clients: it is missing"]),
        (known, "clients = []\nany_subject = true", &["clients: no client may exchange"]),
        (known, "clients = [\"a\"]\nsubjects = 1", &["subjects: "]),
        (&format!("{known}\njwks_uri = 1"), any, &["jwks_uri: "]),
        (&format!("{known}\njwks_file = \"{}\"", folder.path().display()), any, &["jwks_file: "]),
        (&format!("{known}\njwks_file = \"{}\"\nalgorithms = []", keys.display()), any, &["algorithms: "]),
        (&format!("{known}\nprivate_addresses = 1\njwks_uri = \"https://10.0.0.1/\""), any, &["private_addresses: "]),
        (
            every,
            "clients = [\"a\"]\nany_subject = true\nsubject_template = \"x\"\ncopied_claims = []\ngrants = {}",
            &["issuer: it is missing", "subject_template: ", "ca_file: "],
        ),
        (
            "issuer = \"https://tokens.example.com\"\ntoken_bytes = 1",
            "clients = 1",
            &["issuer: ", "token_bytes: ", "clients: ", "subjects: "],
        ),
    ] {
        let mistakes = with(settings, exchange);
        assert_eq!(mistakes.len(), expected.len(), "{mistakes:?}");
        for expected in expected {
            assert!(mistakes.iter().any(|mistake| mistake.contains(expected)), "{expected} not in {mistakes:?}");
        }
    }
}

#[test]
fn two_identity_providers_never_share_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let second = |issuer: &str, template: &str| {
        let settings = |template: &str| format!("any_subject = true\nsubject_template = \"{template}\"");
        let first = trusted("https://login.example", &settings("a{sub}"));
        let second = trusted(issuer, &settings(template));
        let both = format!("{}\n{first}{second}", example(folder.path()));
        read(&both, &[]).map_err(|error| shown(&error).join("\n"))
    };
    assert!(second("https://other.example", "b:{sub}").is_ok());
    let overlapping = second("https://other.example", "ab:{sub}").unwrap_err();
    assert!(overlapping.contains("a subject of another issuer could have the same name"), "{overlapping}");
    for known in ["https://login.example", "https://tokens.example.com"] {
        assert!(second(known, "b:{sub}").unwrap_err().contains("is already trusted"), "{known}");
    }
}

#[test]
fn an_audiences_encryption_key_is_a_public_key_on_p256() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let with = |text: &str| {
        let file = folder.path().join("key");
        fs::write(&file, text).unwrap();
        let audience = format!("[[tokens.audience]]\nname = \"a\"\nencryption_key_file = \"{}\"", file.display());
        read(&format!("{}\n{audience}\n", example(folder.path())), &[]).map_err(|error| shown(&error).join("\n"))
    };
    assert!(with(&key.public_key_pem()).unwrap().tokens.audiences[0].encryption_key.is_some());
    let jwk = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;
    assert!(with(jwk).is_ok());
    for bad in [&key.serialize_pem(), "{}", "x", &jwk.replace("P-256", "P-384"), &jwk.replace("\"x\"", "\"d\"")] {
        let all = with(bad).unwrap_err();
        assert!(all.contains("tokens.audience.encryption_key_file") && all.contains("a public key on P-256"), "{all}");
    }
}

#[test]
fn where_clients_keys_are_fetched_from_is_said_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, none) = (folder.path().join("ca.pem"), folder.path().join("none.pem"));
    fs::write(&ca, rcgen::generate_simple_self_signed(vec!["ca.example".to_owned()]).unwrap().cert.pem()).unwrap();
    fs::write(&none, "no certificate").unwrap();
    let with = |settings: &str| {
        let text =
            format!("{}\n[client_assertions]\n{settings}\n", example(folder.path()).replace("[client_assertions]", ""));
        read(&text, &[]).map_err(|error| shown(&error).join("\n"))
    };
    let settings = format!(
        "type_required = true\njwks_uri_private_addresses = true\njwks_uri_served_max = \"10m\"\njwks_uri_ca_file = \"{}\"",
        ca.display()
    );
    let rules = with(&settings).unwrap().client_assertions;
    assert!(rules.type_required && matches!(rules.reach, Reach::Private) && !rules.roots_pem.is_empty());
    assert_eq!(rules.served_max, Duration::from_secs(600));
    assert!(matches!(with("").unwrap().client_assertions.reach, Reach::Public));
    let bad = with(&format!("jwks_uri_ca_file = \"{}\"", none.display())).unwrap_err();
    assert!(bad.contains("client_assertions.jwks_uri_ca_file: it contains no certificate"), "{bad}");
    let bad = with("jwks_uri_served_max = \"1m\"").unwrap_err();
    assert!(bad.contains("client_assertions.jwks_uri_served_max: 1m is out of range"), "{bad}");
}

#[test]
fn syntax_errors_do_not_hide_other_mistakes() {
    let error = read("[issuer]\nurl = \n[tokens]\nheader_bytes = \"x\"\n", &[]).unwrap_err();
    let all = shown(&error).join("\n");
    assert!(all.contains("a.toml:2:") && all.contains("syntax"), "{all}");
    assert!(all.contains("a.toml:4:1: tokens.header_bytes"), "{all}");
}

#[test]
fn variables_override_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("TOKEN_SERVER__TOKENS__DEFAULT_LIFETIME", "2m"),
        ("TOKEN_SERVER__KEYS__ALGORITHMS", "EdDSA, ES256"),
        ("TOKEN_SERVER__ADMIN__REFLECTION", "true"),
        ("TOKEN_SERVER__TELEMETRY__LOG_FORMAT", "json"),
        ("TOKEN_SERVER__TELEMETRY__AUDIT", "/var/log/audit.json"),
        ("UNRELATED", "x"),
    ];
    let config = read(&example(folder.path()), &variables).unwrap();
    assert_eq!(config.tokens.default_lifetime, Duration::from_secs(120));
    assert_eq!(config.keys.algorithms.iter().map(|a| a.name()).collect::<Vec<_>>(), ["EdDSA", "ES256"]);
    assert!(config.admin.reflection);
    assert_eq!(config.telemetry.log_format, LogFormat::Json);
    assert_eq!(config.telemetry.audit, AuditTarget::File("/var/log/audit.json".into()));
}

#[test]
fn the_environment_alone_is_enough() {
    let key = "c".repeat(64);
    let variables = [
        ("TOKEN_SERVER__ISSUER__URL", "https://tokens.example.com"),
        ("TOKEN_SERVER__LISTEN__ADDRESS", "127.0.0.1:8443"),
        ("TOKEN_SERVER__STORE__URL", "postgres://user:hunter2@db/tokens"),
        ("TOKEN_SERVER__KEYS__SEALING_KEY", &key),
        ("TOKEN_SERVER__SECRETS__PEPPER", &key),
        ("TOKEN_SERVER__LIMITS__CONNECTIONS", "7"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::read(None, variables.clone()).unwrap();
    assert_eq!(config.issuer.as_str(), "https://tokens.example.com");
    assert_eq!(config.listen.address, "127.0.0.1:8443".parse().unwrap());
    assert_eq!(config.keys.sealing_key.bytes(), &[0xcc; 32]);
    assert_eq!(config.limits.connections, 7);
    assert!(config.tls.is_none() && !format!("{config:?}").contains("hunter2"));

    // Each setting without a default is required, and the message says how to set it.
    for (left_out, setting) in [
        ("TOKEN_SERVER__ISSUER__URL", "issuer.url"),
        ("TOKEN_SERVER__STORE__URL", "store.url"),
        ("TOKEN_SERVER__KEYS__SEALING_KEY", "keys.sealing_key_file"),
        ("TOKEN_SERVER__SECRETS__PEPPER", "secrets.pepper_file"),
    ] {
        let error = Config::read(None, variables.clone().into_iter().filter(|(name, _)| name != left_out)).unwrap_err();
        assert_eq!(shown(&error).len(), 1, "{error}");
        assert!(error.to_string().contains(&format!("not set: {setting}: it is missing")), "{error}");
    }
}

#[test]
fn misspelt_variable_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let error = read(&example(folder.path()), &[("TOKEN_SERVER__TOKENS__LIFETIM", "2m")]).unwrap_err();
    assert_eq!(error.mistakes().len(), 1, "{error}");
    assert_eq!(error.mistakes()[0].place, Place::Variable("TOKEN_SERVER__TOKENS__LIFETIM".into()));
}

#[test]
fn refuses_plaintext_beyond_loopback_unless_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let text = example(folder.path());
    let (head, tail) = text.split_once("[tls]").unwrap();
    let (_, tail) = tail.split_once("[store]").unwrap();
    let text = format!("{head}[store]{tail}");
    let error = read(&text, &[]).unwrap_err();
    assert!(error.to_string().contains("listen.address: 0.0.0.0:8443 is not loopback"), "{error}");
    assert!(error.to_string().contains("danger_plaintext"), "{error}");
    read(&text, &[("TOKEN_SERVER__LISTEN__DANGER_PLAINTEXT", "true")]).unwrap();
    read(&text, &[("TOKEN_SERVER__LISTEN__ADDRESS", "127.0.0.1:0")]).unwrap();
}

#[test]
fn refuses_a_secret_in_the_file_and_never_shows_one() {
    let folder = tempfile::tempdir().unwrap();
    let text = example(folder.path()).replace("[secrets]", "[secrets]\npepper = \"swordfish\"");
    let error = read(&text, &[]).unwrap_err();
    assert!(error.to_string().contains("secrets.pepper: a secret does not belong in this file"), "{error}");
    assert!(!format!("{error} {error:?}").contains("swordfish"));

    let key = "c".repeat(64);
    let config = read(&example(folder.path()), &[("TOKEN_SERVER__SECRETS__PEPPER", &key)]).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains(&key) && !shown.contains("204, 204"), "{shown}");
}

#[test]
fn names_a_key_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let text = example(folder.path()).replace("#[[keys.import]]\n#", "[[keys.import]]\n").replace("\n#file", "\nfile");
    fs::write(folder.path().join("sealing.key"), "swordfish").unwrap();
    let error = read(&text, &[]).unwrap_err().to_string();
    assert!(error.contains("keys.sealing_key_file: not a 256-bit key"), "{error}");
    assert!(error.contains("keys.import.file: the key is not a usable RS256 key"), "{error}");
    assert!(error.contains("has 2 mistakes") && !error.contains("swordfish"), "{error}");
}

#[cfg(not(feature = "rsa-generation"))]
#[test]
fn rsa_without_an_imported_key_says_how_to_get_one() {
    let folder = tempfile::tempdir().unwrap();
    let error = read(&example(folder.path()), &[("TOKEN_SERVER__KEYS__ALGORITHMS", "RS256")]).unwrap_err();
    assert!(error.to_string().contains("openssl genpkey -algorithm RSA"), "{error}");
}

#[test]
fn an_rsa_key_is_imported_in_either_pem_form() {
    let folder = tempfile::tempdir().unwrap();
    for pem in [
        include_str!("../issuer/tests/data/public-test-key-rsa-2048.pkcs8.pem"),
        include_str!("../issuer/tests/data/public-test-key-rsa-2048.pkcs1.pem"),
    ] {
        for algorithm in ["RS256", "PS256"] {
            let text = with_import(folder.path(), algorithm, pem);
            let config = read(&text, &[("TOKEN_SERVER__KEYS__ALGORITHMS", algorithm)]).unwrap();
            let imported = config.keys.import.iter().map(|key| key.algorithm().name()).collect::<Vec<_>>();
            assert_eq!(imported, [algorithm]);
        }
    }
}

#[test]
fn an_import_of_another_kind_is_refused_and_says_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    let rsa = include_str!("../issuer/tests/data/public-test-key-rsa-2048.pkcs8.pem");
    let labelled = |label: &str| rsa.replace("PRIVATE KEY", label);
    for pem in ["PUBLIC KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "CERTIFICATE"].map(labelled) {
        let error = read(&with_import(folder.path(), "RS256", &pem), &[]).unwrap_err().to_string();
        assert!(error.contains("keys.import.file: not a private key in PEM"), "{error}");
        assert!(error.contains("a private key for RS256 in PEM (PKCS#8)"), "{error}");
    }
    let error = read(&with_import(folder.path(), "ES256", rsa), &[]).unwrap_err().to_string();
    assert!(error.contains("keys.import.file: the key is not a usable ES256 key"), "{error}");
}

#[test]
fn names_a_file_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let text = example(folder.path());
    fs::remove_file(folder.path().join("tls.key")).unwrap();
    let error = read(&text, &[]).unwrap_err();
    assert!(error.to_string().contains("tls.private_key") && error.to_string().contains("tls.key"), "{error}");
}

#[test]
fn password_of_the_store_is_kept_out_of_the_file_and_of_messages() {
    let folder = tempfile::tempdir().unwrap();
    let text = example(folder.path());
    let sqlite = "sqlite:///var/lib/token-server/token-server.db";
    let with = |url: &str| text.replace(sqlite, url);
    let error = read(&with("postgres://user:hunter2@db/tokens"), &[]).unwrap_err();
    assert!(error.to_string().contains("store.url: a password does not belong in this file"), "{error}");
    assert!(error.to_string().contains("url_file") && !format!("{error:?}").contains("hunter2"), "{error}");

    for url in ["postgres://db/tokens?user=tok&password=hunter2", "postgres://user:hunter2@a,b/tokens"] {
        let error = read(&with(url), &[]).unwrap_err();
        assert!(error.to_string().contains("store.url: a password does not belong in this file"), "{url}: {error}");
    }
    let unusable = [
        ("postgres://user:hunter2@ss@db/tokens", "percent-encoded"),
        ("postgres://user:hunter2/w#rd@db/tokens", "percent-encoded"),
        ("postgres://db/tokens?host=a,b", "several hosts belong before the path"),
        ("postgres://a,b/tokens?target_session_attrs=standby", "read-write or primary"),
    ];
    for (url, why) in unusable {
        let error = read(&text, &[("TOKEN_SERVER__STORE__URL", url)]).unwrap_err();
        assert!(error.to_string().contains(why) && !error.to_string().contains("hunter2"), "{url}: {error}");
    }

    for url in ["postgres://user:hunter2@db/tokens", "mysql://user:hunter2@db/tokens"] {
        let read = read(&text, &[("TOKEN_SERVER__STORE__URL", url)]);
        assert_eq!(read.is_ok(), url.starts_with("postgres"));
        assert!(!format!("{read:?}").contains("hunter2"));
    }
    fs::write(folder.path().join("store-url"), "postgres://user:hunter2@db/tokens\n").unwrap();
    let by_file =
        text.replace(&format!("url = \"{sqlite}\""), &format!("url_file = \"{}/store-url\"", folder.path().display()));
    let config = read(&by_file, &[]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn audience_with_an_algorithm_that_has_no_key_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let text = example(folder.path()) + "[[tokens.audience]]\nname = \"a b\"\nalgorithm = \"EdDSA\"\n";
    let error = read(&text, &[]).unwrap_err().to_string();
    assert!(error.contains("tokens.audience.algorithm: there is no key for EdDSA"), "{error}");
    assert!(error.contains("tokens.audience.name:") && error.contains("2 mistakes"), "{error}");
}

#[test]
fn spans_go_nowhere_unless_a_collector_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let text = example(folder.path());
    assert!(read(&text, &[]).unwrap().telemetry.traces.is_none());
    let endpoint = ("TOKEN_SERVER__TELEMETRY__TRACES__ENDPOINT", "http://127.0.0.1:4317");
    let attributes = ("TOKEN_SERVER__TELEMETRY__TRACES__RESOURCE_ATTRIBUTES", "service.namespace=tokens, a=b");
    let traces = read(&text, &[endpoint, attributes]).unwrap().telemetry.traces.unwrap();
    assert!((traces.sampling_ratio - 0.01).abs() < f64::EPSILON);
    assert_eq!(traces.flush_deadline, Duration::from_secs(5));
    let pairs: Vec<_> =
        traces.resource_attributes.iter().map(|pair| (pair.key.as_str(), pair.value.as_str())).collect();
    assert_eq!(pairs, [("service.namespace", "tokens"), ("a", "b")]);
    let ratio = |ratio| ("TOKEN_SERVER__TELEMETRY__TRACES__SAMPLING_RATIO", ratio);
    assert!(read(&text, &[endpoint, ratio("1")]).is_ok());
    for (name, value, problem) in [
        ("SAMPLING_RATIO", "1.5", "out of range"),
        ("SAMPLING_RATIO", "NaN", "out of range"),
        ("SAMPLING_RATIO", "some", "is not a number"),
        ("ENDPOINT", "127.0.0.1:4317", "is not a URL"),
        ("ENDPOINT", "ftp://collector", "neither http nor https"),
        ("ENDPOINT", "http://me:secret@collector", "do not belong in a URL"),
        ("RESOURCE_ATTRIBUTES", "production", "key=value"),
    ] {
        let error = read(&text, &[(&format!("TOKEN_SERVER__TELEMETRY__TRACES__{name}"), value)]).unwrap_err();
        let shown = shown(&error).join("\n");
        assert!(shown.contains(problem) && !shown.contains("secret"), "{name} {value}: {shown}");
    }
}

/// Returns the mistakes in a section `[ext_authz]`. The test's own files replace those of
/// `/etc/token-server`.
fn ext_authz(section: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("garbage.binpb"), [0xff; 8]).unwrap();
    fs::write(folder.path().join("empty.binpb"), "").unwrap();
    let section = section.replace("/etc/token-server", folder.path().to_str().unwrap());
    let text = format!("{}\n[ext_authz]\n{section}", example(folder.path()));
    read(&text, &[]).map_or_else(|error| shown(&error), |_| Vec::new())
}

#[test]
fn decisions_for_proxies_are_for_loopback_or_for_certified_proxies() {
    let files = r#"descriptor_sets = ["/etc/token-server/inventory.binpb"]"#;
    let client_ca = r#"client_ca = "/etc/token-server/client-ca.pem""#;
    for good in ["127.0.0.1:9191", "[::1]:9191"] {
        assert_eq!(ext_authz(&format!("address = \"{good}\"\n{files}")), [""; 0]);
    }
    assert_eq!(ext_authz(&format!("address = \"0.0.0.0:9191\"\n{client_ca}\n{files}")), [""; 0]);
    let open = ext_authz(&format!("address = \"0.0.0.0:9191\"\n{files}")).join("\n");
    assert!(open.contains("ext_authz.address: 0.0.0.0:9191 is not loopback, and there is no client_ca"), "{open}");
}

#[test]
fn which_decisions_for_proxies_are_audited_is_one_of_two_words() {
    let section = |audit: &str| {
        let files = r#"descriptor_sets = ["/etc/token-server/inventory.binpb"]"#;
        ext_authz(&format!("address = \"127.0.0.1:9191\"\n{files}\naudit = {audit}"))
    };
    for good in [r#""all""#, r#""refused""#] {
        assert_eq!(section(good), [""; 0]);
    }
    for bad in [r#""none""#, "true"] {
        let mistakes = section(bad);
        assert!(mistakes.len() == 1 && mistakes[0].contains("ext_authz.audit"), "{mistakes:?}");
        assert!(mistakes[0].contains(r#""all" or "refused""#), "{mistakes:?}");
    }
}

#[test]
fn decisions_for_proxies_need_descriptor_sets_with_a_policy() {
    for (files, problem) in [
        ("", "it names no file"),
        (r#""/etc/token-server/none.binpb""#, "none.binpb: No such file"),
        (r#""/etc/token-server/garbage.binpb""#, "garbage.binpb: not a usable descriptor set"),
        (r#""/etc/token-server/empty.binpb""#, "empty.binpb: no service in it has m2m.auth.v1 annotations"),
    ] {
        let mistakes = ext_authz(&format!("address = \"127.0.0.1:9191\"\ndescriptor_sets = [{files}]"));
        assert!(mistakes.len() == 1 && mistakes[0].contains("ext_authz.descriptor_sets"), "{mistakes:?}");
        assert!(mistakes[0].contains(problem), "{mistakes:?}");
    }
    let missing = ext_authz("").join("\n");
    assert!(missing.contains("ext_authz.address: it is missing") && missing.contains("descriptor_sets"), "{missing}");
}

#[test]
fn a_file_of_clients_says_where_keys_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let text = example(folder.path()).replace("sqlite:///var/lib/token-server/token-server.db", "file:///clients.toml");
    let variable = |name: &str| format!("TOKEN_SERVER__STORE__{name}");
    let (state, danger) = (variable("STATE"), variable("DANGER_STATE_IN_MEMORY"));
    assert!(read(&text, &[(&state, "/state.db")]).is_ok());
    assert!(read(&text, &[(&danger, "true")]).is_ok());
    for both_or_none in [&[][..], &[(state.as_str(), "/state.db"), (danger.as_str(), "true")]] {
        let error = read(&text, both_or_none).unwrap_err();
        assert!(shown(&error)[0].contains("store.state: a file of clients cannot store signing keys"), "{error}");
    }
    let sqlite = example(folder.path());
    assert!(shown(&read(&sqlite, &[(&state, "/state.db")]).unwrap_err())[0].contains("applies to file://"));
    assert!(shown(&read(&sqlite, &[(&danger, "true")]).unwrap_err())[0].contains("applies to file://"));
}
