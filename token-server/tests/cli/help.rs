//! Help that teaches, and mistakes in the arguments.

use crate::harness::run;

#[test]
fn help_of_each_command_has_examples() {
    let home = tempfile::tempdir().unwrap();
    for command in ["dev", "serve", "token", "agent", "client", "key", "inspect", "backup"] {
        let ran = run(home.path(), &[command, "--help"]);
        assert_eq!(ran.code, 0, "{command}");
        assert!(ran.stdout.contains("Examples:"), "{command}: {}", ran.stdout);
        assert!(ran.stdout.contains(&format!("token-server {command}")), "{command}: {}", ran.stdout);
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
