//! Commands at a port that demands a client certificate: mutual TLS.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::{
    harness::{Ran, create_offline, program, run},
    serve::{Serving, config},
};

/// The issuer, its client and a caller, each with a certificate of its own CA.
struct World {
    home: TempDir,
    serving: Serving,
    secret: String,
}

fn certify(folder: &Path, ca: &str, name: &str) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    fs::write(folder.join(ca), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    fs::write(folder.join(format!("{name}.crt")), leaf.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

impl World {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path();
        for (ca, name) in [("ca.pem", "tls"), ("operators-ca.pem", "operator"), ("others-ca.pem", "other")] {
            certify(folder, ca, name);
        }
        let path = folder.display();
        let tls = format!(
            "[tls]\ncertificate = \"{path}/tls.crt\"\nprivate_key = \"{path}/tls.key\"\n\
             client_ca = \"{path}/operators-ca.pem\"\nclient_certificate_required = true\n"
        );
        let config = config(folder).replace("http://127.0.0.1:0", "https://localhost:0") + &tls;
        fs::write(folder.join("a.toml"), config).unwrap();
        let grants = "m2m.admin.v1=clients.read,keys.read,audit.read";
        let secret = create_offline(folder, "operator", grants);
        let serving = Serving::start(folder);
        Self { home, serving, secret }
    }

    /// Runs a command as the operator, by variables, with further `variables`.
    fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
        let mut command = program(self.home.path());
        command.env("TOKEN_ISSUER", &self.serving.issuer).env("TOKEN_CA_FILE", "ca.pem");
        for role in ["TOKEN", "TOKEN_ADMIN"] {
            command.env(format!("{role}_CLIENT_ID"), "operator").env(format!("{role}_CLIENT_SECRET"), &self.secret);
        }
        command.envs(variables.iter().copied()).args(arguments).output().unwrap().into()
    }
}

const SHOWN: [(&str, &str); 2] =
    [("TOKEN_CLIENT_CERTIFICATE_FILE", "operator.crt"), ("TOKEN_CLIENT_CERTIFICATE_KEY_FILE", "operator.key")];
const OTHERS: [(&str, &str); 2] =
    [("TOKEN_CLIENT_CERTIFICATE_FILE", "other.crt"), ("TOKEN_CLIENT_CERTIFICATE_KEY_FILE", "other.key")];
const TOKEN: [&str; 4] = ["token", "--audience", "m2m.admin.v1", "--no-cache"];

#[test]
fn every_command_that_connects_gets_in_with_a_certificate_and_is_told_of_it_without() {
    let world = World::start();
    let token = world.run_with(&SHOWN, &TOKEN);
    assert_eq!(token.code, 0, "{}", token.stderr);
    let inspect = ["inspect", token.stdout.trim(), "--issuer", &world.serving.issuer];
    let agent = ["agent", "--once", "--token", "m2m.admin.v1=kept.token"];
    let list = |what| [what, "list"];
    let (client, key, audit) = (list("client"), list("key"), list("audit"));
    let commands: [&[&str]; 6] = [&TOKEN, &inspect, &agent, &client, &key, &audit];
    for command in commands {
        let with = world.run_with(&SHOWN, command);
        assert_eq!(with.code, 0, "{command:?}: {}", with.stderr);
        let flags = ["--client-certificate-file", "operator.crt", "--client-certificate-key-file", "operator.key"];
        let with = world.run_with(&[], &[command, &flags].concat());
        assert_eq!(with.code, 0, "{command:?}: {}", with.stderr);
        for shown in [&[][..], &OTHERS] {
            let without = world.run_with(shown, command);
            assert_eq!(without.code, 4, "{command:?}: {}", without.stderr);
            assert!(without.stderr.contains("--client-certificate-file"), "{command:?}: {}", without.stderr);
        }
    }
}

#[test]
fn files_that_cannot_be_shown_are_named_before_anything_is_connected() {
    let home = tempfile::tempdir().unwrap();
    certify(home.path(), "ca.pem", "one");
    certify(home.path(), "ca.pem", "two");
    fs::write(home.path().join("empty"), "").unwrap();
    fs::write(
        home.path().join("encrypted"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIC\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    let token = ["token", "--issuer", "https://localhost:1", "--client-id", "a", "--client-secret-file", "empty"];
    let client =
        ["client", "list", "--issuer", "https://localhost:1", "--client-id", "a", "--client-secret-file", "empty"];
    for (certificate, key, expected) in [
        (Some("one.crt"), None, "the client certificate's key is missing"),
        (None, Some("one.key"), "the client certificate is missing, and only its key is named"),
        (Some("none"), Some("one.key"), "cannot read the client certificate none: "),
        (Some("one.crt"), Some("none"), "cannot read the client certificate's key none: "),
        (Some("empty"), Some("one.key"), "empty holds no PEM certificate"),
        (Some("one.key"), Some("one.key"), "one.key holds no PEM certificate"),
        (Some("one.crt"), Some("one.crt"), "one.crt holds no PEM private key"),
        (Some("one.crt"), Some("encrypted"), "encrypted holds no PEM private key"),
        (Some("one.crt"), Some("two.key"), "the key in two.key and the certificate in one.crt do not belong together"),
    ] {
        let certificate = certificate.map(|file| ["--client-certificate-file", file]);
        let key = key.map(|file| ["--client-certificate-key-file", file]);
        let flags = [certificate, key].into_iter().flatten().flatten().collect::<Vec<_>>();
        for command in [&token[..], &client] {
            let ran = run(home.path(), &[command, &flags].concat());
            assert_eq!(ran.code, 2, "{flags:?}: {}", ran.stderr);
            assert!(ran.stderr.starts_with(&format!("error: {expected}")), "{flags:?}: {}", ran.stderr);
        }
    }
}
