//! `token-server agent`: files with tokens, replaced before they expire.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Stdio};

use saphyr::{LoadableYamlNode as _, Yaml};

use crate::harness::{Dev, program, run};

#[test]
fn writes_each_audiences_token_for_its_owner_alone() {
    let dev = Dev::start();
    let ran =
        dev.run(&["agent", "--once", "--token", "inventory=inventory.token", "--scopes", "inventory=inventory.read"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let file = dev.home.path().join("inventory.token");
    assert_eq!(fs::read_to_string(&file).unwrap().split('.').count(), 3);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let ran = dev.run(&["agent", "--once", "--group-readable", "--token", "inventory=inventory.token"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn renews_the_file_and_ends_on_sigterm() {
    let dev = Dev::start();
    // The shortest lifetime that a client may have.
    let short = dev.run(&["client", "update", "orders", "--token-lifetime", "2s"]);
    assert_eq!(short.code, 0, "{}", short.stderr);
    let file = dev.home.path().join("inventory.token");
    let mut command = program(dev.home.path());
    command.args(["agent", "--token"]).arg(format!("inventory={}", file.display()));
    let mut agent = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 2 {
        // A reader never reads a part of a token.
        if let Ok(token) = fs::read_to_string(&file) {
            assert_eq!(token.split('.').count(), 3, "{token}");
            seen.insert(token);
        }
        assert!(agent.try_wait().unwrap().is_none(), "the agent has ended");
        std::thread::yield_now();
    }
    let killed = std::process::Command::new("kill").args(["-TERM", &agent.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(agent.wait().unwrap().code(), Some(0));
}

#[test]
fn once_tells_a_refusal_from_an_outage_by_its_exit_code() {
    let mut dev = Dev::start();
    let once = |dev: &Dev, variables: &[(&str, &str)], more: &[&str]| {
        let mut command = program(dev.home.path());
        command.env("TOKEN_ISSUER", &dev.issuer).envs(variables.iter().copied());
        let ran = command.args(["agent", "--once", "--token"]).args(more).output().unwrap();
        (ran.status.code(), dev.home.path().join("file").exists())
    };
    assert_eq!(once(&dev, &[("TOKEN_CLIENT_SECRET", "wrong")], &["inventory=file"]), (Some(3), false));
    assert_eq!(once(&dev, &[], &["nowhere=file"]), (Some(3), false));
    assert_eq!(once(&dev, &[], &["inventory=file", "--scopes", "inventory=no.such"]), (Some(3), false));
    dev.stop("-TERM");
    assert_eq!(once(&dev, &[], &["inventory=file"]), (Some(4), false));
}

#[test]
fn wrong_forms_are_named_with_the_right_one() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(run(home.path(), &["agent"]).code, 2);
    let dev = Dev::start();
    for arguments in [
        ["agent", "--token", "inventory", "--once", "--once"].as_slice(),
        &["agent", "--token", "inventory"],
        &["agent", "--token", "a=b", "--token", "a=c"],
        &["agent", "--token", "a=b", "--scopes", "c=d"],
    ] {
        let ran = dev.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
    }
    let ran = dev.run(&["agent", "--once", "--token", "nowhere=x"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(ran.stderr.contains("nowhere"), "{}", ran.stderr);
}

#[test]
fn sidecar_manifest_uses_flags_that_the_agent_has() {
    let sidecar = include_str!("../../../deploy/kubernetes/agent-sidecar.yaml");
    let pods = Yaml::load_from_str(sidecar).unwrap();
    let container = &pods[0]["spec"]["initContainers"][0];
    let words = |list: &Yaml<'_>| -> Vec<String> {
        list.as_vec().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let (arguments, probe) = (words(&container["args"]), words(&container["startupProbe"]["exec"]["command"]));
    let home = tempfile::tempdir().unwrap();
    let help = run(home.path(), &["agent", "--help"]).stdout;
    assert_eq!(arguments[0], "agent");
    assert_eq!(probe[..2], ["token-server", "agent"]);
    for argument in arguments[1..].iter().chain(&probe[2..]) {
        let flag = argument.split('=').next().unwrap();
        assert!(help.contains(flag), "{flag}");
    }
}
