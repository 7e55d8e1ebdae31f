//! The issuer that a command calls, and the error if it is unreachable.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use crate::harness::{Dev, Ran, program, run};

/// A state folder, as a cloned repository may contain it.
fn state(home: &Path, issuer: &str) {
    let folder = home.join(".token-server");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    for file in ["example.env", "admin.env"] {
        let file = folder.join(file);
        fs::write(&file, format!("export TOKEN_ISSUER='{issuer}'\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    }
}

const TOKEN: [&str; 4] = ["token", "--audience", "inventory", "--no-cache"];
const AGENT: [&str; 4] = ["agent", "--once", "--token", "inventory=file"];
const LIST: [&str; 2] = ["client", "list"];

/// Runs a command with a client in its environment, in both roles.
fn with_client(home: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = program(home);
    for role in ["TOKEN", "TOKEN_ADMIN"] {
        command.env(format!("{role}_CLIENT_ID"), "deployer").env(format!("{role}_CLIENT_SECRET"), "the-secret");
    }
    command.envs(variables.iter().copied()).args(arguments).output().unwrap().into()
}

#[test]
fn a_client_of_the_environment_goes_to_no_issuer_of_a_folder() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let home = tempfile::tempdir().unwrap();
    state(home.path(), &format!("http://{}", listener.local_addr().unwrap()));
    fs::write(home.path().join("secret"), "the-secret").unwrap();
    let commands: [&[&str]; 3] = [&TOKEN, &AGENT, &LIST];
    for command in commands {
        let ran = with_client(home.path(), &[], command);
        assert_eq!(ran.code, 2, "{command:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("name the issuer"), "{command:?}: {}", ran.stderr);
        for flags in [["--client-id", "deployer"], ["--client-secret-file", "secret"], ["--client-key-file", "secret"]]
        {
            let ran = run(home.path(), &[command, &flags].concat());
            assert_eq!(ran.code, 2, "{command:?} {flags:?}: {}", ran.stderr);
        }
    }
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_state_folder_is_believed_about_this_machine_alone() {
    let home = tempfile::tempdir().unwrap();
    state(home.path(), "https://tokens.example");
    let ran = run(home.path(), &TOKEN);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("example.env") && ran.stderr.contains("another machine"), "{}", ran.stderr);
}

#[test]
fn a_state_folder_that_others_may_write_is_not_used() {
    let dev = Dev::start();
    let (file, folder) = (dev.state("example.env"), dev.state(""));
    for (path, mode, restored) in [(&file, 0o666, 0o600), (&file, 0o620, 0o600), (&folder, 0o777, 0o700)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let ran = dev.run(&TOKEN);
        assert_eq!(ran.code, 2, "{mode:o}: {}", ran.stderr);
        assert!(ran.stderr.contains("written by other users"), "{mode:o}: {}", ran.stderr);
        fs::set_permissions(path, fs::Permissions::from_mode(restored)).unwrap();
    }
    assert_eq!(dev.run(&TOKEN).code, 0);
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let dev = Dev::start();
    let mut command = program(dev.home.path());
    for name in [
        "TOKEN_ISSUER",
        "TOKEN_CA_FILE",
        "TOKEN_STATE_DIR",
        "TOKEN_CLIENT_ID",
        "TOKEN_CLIENT_SECRET",
        "TOKEN_CLIENT_KEY_FILE",
        "TOKEN_CLIENT_CERTIFICATE_FILE",
        "TOKEN_CLIENT_CERTIFICATE_KEY_FILE",
    ] {
        command.env(name, "");
    }
    let ran: Ran = command.args(TOKEN).output().unwrap().into();
    assert_eq!(ran.code, 0, "{}", ran.stderr);

    for secret in ["", " \n"] {
        let mut command = program(dev.home.path());
        command.env("TOKEN_CLIENT_ID", "orders").env("TOKEN_CLIENT_SECRET", secret);
        let elsewhere = ["token", "--issuer", "https://127.0.0.1:1", "--audience", "a"];
        let ran: Ran = command.args(elsewhere).output().unwrap().into();
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("the client's secret is missing"), "{}", ran.stderr);
    }
}

#[test]
fn a_misspelt_variable_is_named() {
    let home = tempfile::tempdir().unwrap();
    let mut command = program(home.path());
    command.env("TOKEN_CLIENT_ID", "orders").env("TOKEN_CLIENT_SECERT", "s");
    let ran: Ran = command.args(["token", "--issuer", "https://127.0.0.1:1"]).output().unwrap().into();
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("TOKEN_CLIENT_SECERT is set: did you mean TOKEN_CLIENT_SECRET?"), "{}", ran.stderr);
}

/// Every command that calls an issuer, with this issuer and the development issuer's client.
fn at(dev: &Dev, issuer: &str) -> Vec<(&'static str, Ran)> {
    let token = dev.run(&["token", "--audience", "inventory"]).stdout;
    let (ca, secret) = (dev.state("ca.pem"), dev.secret());
    let inspect = ["inspect", token.trim()];
    let commands: [(&'static str, &[&str]); 4] =
        [("token", &TOKEN), ("agent", &AGENT), ("client", &LIST), ("inspect", &inspect)];
    let run = |arguments: &[&str]| {
        let variables = [("TOKEN_CLIENT_ID", "orders"), ("TOKEN_CLIENT_SECRET", &secret)];
        let mut command = program(dev.home.path());
        command.envs(variables).env("TOKEN_ADMIN_CLIENT_ID", "orders").env("TOKEN_ADMIN_CLIENT_SECRET", &secret);
        command.env("TOKEN_CA_FILE", &ca).args(arguments).args(["--issuer", issuer]);
        Ran::from(command.output().unwrap())
    };
    commands.map(|(name, arguments)| (name, run(arguments))).into()
}

#[test]
fn a_trailing_slash_is_a_mistake_with_the_right_name() {
    let dev = Dev::start();
    for (command, ran) in at(&dev, &format!("{}/", dev.issuer)) {
        // The admin API needs only the host.
        if command != "client" {
            assert_eq!(ran.code, 2, "{command}: {}", ran.stderr);
            assert!(
                ran.stderr.contains(&format!("did you mean --issuer {}?", dev.issuer)),
                "{command}: {}",
                ran.stderr
            );
        }
    }
}

#[test]
fn http_to_a_tls_port_is_a_mistake_that_is_named() {
    let dev = Dev::start();
    for (command, ran) in at(&dev, &dev.issuer.replace("https:", "http:")) {
        assert_eq!(ran.code, 2, "{command}: {}", ran.stderr);
        assert!(ran.stderr.contains("the port speaks TLS"), "{command}: {}", ran.stderr);
        assert!(ran.stderr.contains(&format!("did you mean --issuer {}?", dev.issuer)), "{command}: {}", ran.stderr);
    }
}

#[test]
fn a_closed_port_gets_no_hint_of_certificates() {
    let dev = Dev::start();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (command, ran) in at(&dev, &format!("https://localhost:{port}")) {
        assert_eq!(ran.code, 4, "{command}: {}", ran.stderr);
        assert!(ran.stderr.contains("Connection refused"), "{command}: {}", ran.stderr);
        assert!(!ran.stderr.contains("certificate"), "{command}: {}", ran.stderr);
    }
}

#[test]
fn an_unknown_ca_is_answered_with_the_flag_that_names_it() {
    let (dev, other) = (Dev::start(), Dev::start());
    for (command, ran) in at(&dev, &other.issuer) {
        assert_eq!(ran.code, 4, "{command}: {}", ran.stderr);
        assert!(ran.stderr.contains("--ca-file FILE"), "{command}: {}", ran.stderr);
        for other in ["extra_roots_pem", "SSL_CERT_FILE", "ClientTlsConfig", "client-certificate", "running"] {
            assert!(!ran.stderr.contains(other), "{command} {other}: {}", ran.stderr);
        }
    }
}

#[test]
fn a_refusal_names_its_code_once() {
    let dev = Dev::start();
    let ran = with_client(dev.home.path(), &[("TOKEN_ISSUER", &dev.issuer)], &TOKEN);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("invalid_client").count(), 1, "{}", ran.stderr);
}

/// A server that speaks HTTP/1.1 alone, as some proxies do: metadata at the issuer's path, or nothing.
fn without_grpc(answers: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}/sso/tokens", listener.local_addr().unwrap());
    let metadata = format!(r#"{{"issuer":"{issuer}","token_endpoint":"{issuer}/oauth/token"}}"#);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            let found = answers && line.contains("oauth-authorization-server/sso/tokens");
            let (status, body) = if found { ("200 OK", metadata.as_str()) } else { ("404 Not Found", "{}") };
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        }
    });
    issuer
}

#[test]
fn an_issuer_without_grpc_below_a_path_is_told_apart() {
    let home = tempfile::tempdir().unwrap();
    let ran = |issuer: &str| with_client(home.path(), &[("TOKEN_ISSUER", issuer)], &LIST);
    let answers = ran(&without_grpc(true));
    assert_eq!(answers.code, 4, "{}", answers.stderr);
    for expected in ["answers over HTTP", "gRPC over HTTP/2 at the root of the host"] {
        assert!(answers.stderr.contains(expected), "{expected}: {}", answers.stderr);
    }
    let nothing = ran(&without_grpc(false));
    assert_eq!(nothing.code, 4, "{}", nothing.stderr);
    assert!(nothing.stderr.contains("answered HTTP 404"), "{}", nothing.stderr);
}

#[test]
fn errors_are_json_where_results_are() {
    let dev = Dev::start();
    let error = |ran: &Ran| {
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
        assert_eq!(error["error"]["exit_code"], ran.code);
        error["error"]["kind"].as_str().unwrap().to_owned()
    };
    assert_eq!(error(&dev.run(&["token", "--json", "--audience", "nowhere"])), "denied");
    assert_eq!(error(&dev.run(&["client", "show", "stranger", "--json"])), "not_found");
    assert_eq!(error(&dev.run(&["client", "show", "--json"])), "usage");
    assert_eq!(error(&dev.run(&["inspect", "--json", "no-token"])), "usage");
}

#[test]
fn an_output_that_is_closed_is_no_error() {
    let dev = Dev::start();
    for arguments in [&["client", "list"][..], &["key", "list", "--json"], &["completions", "bash"]] {
        let mut command = program(dev.home.path());
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let ran: Ran = command.args(arguments).stdout(writer).output().unwrap().into();
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
    }
}
