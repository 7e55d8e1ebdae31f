//! `token-server completions`: a script for command-line completion in a shell.

use clap::{Args, Command};
use clap_complete::Shell;

use super::{failure::Failure, output::Output};

/// Prints completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(token-server completions bash)
  token-server completions zsh > ~/.zfunc/_token-server
  token-server completions fish > ~/.config/fish/completions/token-server.fish")]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints the script for `program`.
    pub(super) fn run(self, mut program: Command, output: &mut Output) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, "token-server", &mut script);
        Ok(output.line(String::from_utf8_lossy(&script).trim_end())?)
    }
}
