//! Help that teaches, and mistakes in the arguments.

use crate::harness::run;

#[test]
fn help_of_each_command_has_examples() {
    let home = tempfile::tempdir().unwrap();
    for command in [
        "dev",
        "serve",
        "token",
        "agent",
        "client",
        "key",
        "audit",
        "inspect",
        "hash-key",
        "policy",
        "backup",
        "completions",
    ] {
        let ran = run(home.path(), &[command, "--help"]);
        assert_eq!(ran.code, 0, "{command}");
        assert!(ran.stdout.contains("Examples:"), "{command}: {}", ran.stdout);
        assert!(ran.stdout.contains(&format!("token-server {command}")), "{command}: {}", ran.stdout);
    }
}

#[test]
fn help_names_the_grant_of_servers_that_introspect() {
    let home = tempfile::tempdir().unwrap();
    for command in ["create", "update"] {
        let help = run(home.path(), &["client", command, "--help"]).stdout;
        assert!(help.contains("m2m.token.v1=tokens.introspect"), "{command}: {help}");
    }
}

#[test]
fn help_says_how_to_begin_and_what_exit_codes_mean() {
    let home = tempfile::tempdir().unwrap();
    let help = run(home.path(), &["--help"]).stdout;
    for expected in ["token-server dev", "Exit codes:", "serve --config token-server.toml --check"] {
        assert!(help.contains(expected), "{help}");
    }
}

#[test]
fn wrong_arguments_exit_with_2_and_name_the_right_ones() {
    let home = tempfile::tempdir().unwrap();
    let ran = run(home.path(), &["tokne"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("token"), "{}", ran.stderr);
    let ran = run(home.path(), &["dev", "--prot", "1"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--port"), "{}", ran.stderr);
    assert_eq!(run(home.path(), &["dev", "--port", "70000"]).code, 2);
    assert_eq!(run(home.path(), &[]).code, 2);
}

#[test]
fn secrets_have_no_argument_of_their_own() {
    let home = tempfile::tempdir().unwrap();
    let help = run(home.path(), &["token", "--help"]).stdout;
    assert!(help.contains("--client-secret-file") && !help.contains("--client-secret "), "{help}");
}

#[test]
fn completions_know_every_command() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = run(home.path(), &["completions", shell]);
        assert_eq!(script.code, 0, "{shell}");
        for command in ["serve", "client", "audit", "--page-token", "--since"] {
            assert!(script.stdout.contains(command.trim_start_matches('-')), "{shell} {command}");
        }
    }
    let bash = run(home.path(), &["completions", "bash"]).stdout;
    let script = home.path().join("completions.bash");
    std::fs::write(&script, bash).unwrap();
    let asked = format!(
        "source {}; COMP_WORDS=(token-server aud); COMP_CWORD=1; _token__server token-server aud token-server; \
         echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let answer = std::process::Command::new("bash").args(["-c", &asked]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "audit", "{answer:?}");
}
