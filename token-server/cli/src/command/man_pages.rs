//! `token-server man-pages`: the help of every command as manual pages.

use std::{fs, path::PathBuf};

use clap::{Args, Command};

use super::{failure::Failure, output::Output};

/// Writes the manual pages of all commands into a folder.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  token-server man-pages /usr/local/share/man/man1
  man token-server-client-create")]
pub(super) struct ManPages {
    /// The folder. It is created.
    folder: PathBuf,
}

impl ManPages {
    /// Writes the pages of `program`.
    pub(super) fn run(self, program: Command, output: &mut Output) -> Result<(), Failure> {
        let shown = self.folder.display().to_string();
        let written = fs::create_dir_all(&self.folder).and_then(|()| clap_mangen::generate_to(program, &self.folder));
        written.map_err(|error| Failure::failed(format!("cannot write the pages to {shown}"), error))?;
        Ok(output.line(format_args!("The manual pages are in {shown}."))?)
    }
}
