//! The command line, with one module per subcommand.
//!
//! Each subcommand writes its result to standard output, so that it can be piped. Everything else goes to
//! standard error. An error ends with the next step for the user. The exit code gives its kind.

mod agent;
mod audit;
mod backup;
mod client;
mod completions;
mod connection;
mod dev;
mod explain;
mod failure;
mod hash_key;
mod import;
mod inspect;
mod key;
mod man_pages;
mod output;
mod policy;
mod runtime;
mod serve;
mod signals;
mod supervisor;
mod token;

use std::{
    ffi::{OsStr, OsString},
    process::ExitCode,
};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use failure::{ErrorFormat, Failure};
use output::Output;

/// Examples and exit codes for the end of the help.
const AFTER_HELP: &str = "\
Start:
  token-server dev                                a development issuer on https://localhost:8443
  token-server token --audience inventory         a token, for -H \"authorization: Bearer $(...)\"
  token-server client list                        the registered clients

In operation:
  token-server serve --config token-server.toml --check
  token-server serve --config token-server.toml

Exit codes:
  0  done
  1  failed
  2  wrong arguments or configuration
  3  denied: not authenticated, or not allowed
  4  the server is unreachable or cannot answer now; try again
  5  there is no such client, credential or key

With --json an error is one JSON object on standard error.
An empty environment variable counts as unset.";

/// An OAuth 2.0 issuer for machines, over gRPC and HTTP on one port, and its tools.
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
    Client(Box<client::Client>),
    Import(import::Import),
    Key(key::Key),
    Audit(audit::Audit),
    Inspect(inspect::Inspect),
    HashKey(hash_key::HashKey),
    Policy(policy::Policy),
    Backup(backup::Backup),
    Completions(completions::Completions),
    ManPages(man_pages::ManPages),
}

/// Runs the subcommand that the process's arguments name.
#[must_use]
pub(crate) fn main() -> ExitCode {
    let format =
        if std::env::args_os().any(|argument| argument == "--json") { ErrorFormat::Json } else { ErrorFormat::Text };
    let arguments = without_empty_variables(Arguments::command(), &|name| std::env::var_os(name))
        .try_get_matches()
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match arguments {
        Ok(arguments) => arguments,
        Err(error) => return wrong_arguments(&error, format),
    };
    match run(arguments.command, &mut Output::standard()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(format),
    }
}

/// Writes clap's message, which may also be requested help.
fn wrong_arguments(error: &clap::Error, format: ErrorFormat) -> ExitCode {
    if format == ErrorFormat::Text || !error.use_stderr() {
        error.exit();
    }
    let text = error.render().to_string();
    Failure::usage(text.trim().trim_start_matches("error: ")).report(format)
}

/// Makes the command's arguments ignore empty environment variables. CI systems set an undefined secret to an
/// empty value.
fn without_empty_variables(mut command: clap::Command, variable: &dyn Fn(&OsStr) -> Option<OsString>) -> clap::Command {
    let names: Vec<_> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(name, |command| without_empty_variables(command, variable));
    }
    command.mut_args(|argument| {
        let is_empty = |name: &OsStr| variable(name).is_some_and(|value| value.is_empty());
        if argument.get_env().is_some_and(is_empty) { argument.env(None::<&'static str>) } else { argument }
    })
}

fn run(command: Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Dev(dev) => dev.run(output),
        Command::Serve(serve) => serve.run(output),
        Command::Token(token) => token.run(output),
        Command::Agent(agent) => agent.run(output),
        Command::Client(client) => client.run(output),
        Command::Import(import) => import.run(output),
        Command::Key(key) => key.run(output),
        Command::Audit(audit) => audit.run(output),
        Command::Inspect(inspect) => inspect.run(output),
        Command::HashKey(hash_key) => hash_key.run(output),
        Command::Policy(policy) => policy.run(output),
        Command::Backup(backup) => backup.run(output),
        Command::Completions(completions) => completions.run(Arguments::command(), output),
        Command::ManPages(pages) => pages.run(Arguments::command(), output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The width of clap's help without a known terminal, in columns.
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
