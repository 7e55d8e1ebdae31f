//! The command line: one module per subcommand.
//!
//! Each subcommand writes what it was asked for to standard output and everything else to standard error, so
//! that output can be piped. What went wrong ends with what to do next; the exit code says of which kind it was.

mod agent;
mod audit;
mod backup;
mod client;
mod completions;
mod connection;
mod dev;
mod explain;
mod failure;
mod inspect;
mod key;
mod output;
mod policy;
mod serve;
mod signals;
mod token;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use failure::Failure;
use output::Output;

/// The environment variables and exit codes, at the end of the help.
const AFTER_HELP: &str = "\
Begin:
  token-server dev                                an issuer on https://localhost:8443, from nothing
  token-server token --audience inventory         a token, for -H \"authorization: Bearer $(...)\"
  token-server client list                        the clients it knows

In operation:
  token-server serve --config token-server.toml --check
  token-server serve --config token-server.toml

Exit codes:
  0  done
  1  failed
  2  wrong arguments or configuration
  3  denied: who asks could not be authenticated, or may not
  4  the server cannot be reached, or is not able to answer now: trying again may help
  5  there is no such client, credential or key";

/// Where `dev` keeps its state unless told otherwise.
const STATE_DIR: &str = ".token-server";

/// Access tokens for machines: an OAuth 2.0 issuer over gRPC and HTTP on one port, and its tools.
#[derive(Debug, Parser)]
#[command(name = "token-server", version, after_help = AFTER_HELP, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::Dev),
    Serve(serve::Serve),
    Token(token::Token),
    Agent(agent::Agent),
    Client(client::Client),
    Key(key::Key),
    Audit(audit::Audit),
    Inspect(inspect::Inspect),
    Policy(policy::Policy),
    Backup(backup::Backup),
    Completions(completions::Completions),
}

/// Runs the command that the process's arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let matches = Arguments::command().get_matches();
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match run(arguments.command, &mut Output::standard()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Dev(dev) => dev.run(output),
        Command::Serve(serve) => serve.run(output),
        Command::Token(token) => token.run(output),
        Command::Agent(agent) => agent.run(output),
        Command::Client(client) => client.run(output),
        Command::Key(key) => key.run(output),
        Command::Audit(audit) => audit.run(output),
        Command::Inspect(inspect) => inspect.run(output),
        Command::Policy(policy) => policy.run(output),
        Command::Backup(backup) => backup.run(output),
        Command::Completions(completions) => completions.run(output),
    }
}

/// What a command that waits for one answer at a time runs on.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed("cannot start", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As wide as clap writes help where it does not know the terminal.
    const WIDTH: usize = 100;

    fn every(command: &clap::Command) -> Vec<&clap::Command> {
        command.get_subcommands().flat_map(every).chain([command]).collect()
    }

    #[test]
    fn no_example_of_the_help_is_broken_into_two_lines() {
        let command = Arguments::command();
        let helps = every(&command).into_iter().filter_map(clap::Command::get_after_help).map(ToString::to_string);
        let helps: Vec<_> = helps.collect();
        assert!(helps.len() > 8);
        for line in helps.iter().flat_map(|help| help.lines()) {
            assert!(line.len() <= WIDTH, "{line}");
        }
    }
}
