//! The state folder of `token-server dev`, as its clients read it.
//!
//! A cloned repository may contain such a folder. It is trusted only if the user owns it, and only for an
//! issuer on this machine.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use token_interceptor::http_url::HttpUrl;
use token_server::development;
use token_store::private_file;

use super::Role;
use crate::command::failure::Failure;

/// The issuer, and the client that `dev` created for a role.
#[derive(Debug)]
pub(super) struct State {
    pub(super) file: PathBuf,
    pub(super) issuer: String,
    values: BTreeMap<String, String>,
}

impl State {
    /// Reads the file of `role`. `None` if there is none.
    ///
    /// # Errors
    ///
    /// When another user could have written it, or it names an issuer on another machine.
    pub(super) fn read(folder: &Path, role: Role) -> Result<Option<Self>, Failure> {
        let file = folder.join(role.file_name());
        let unusable = |why: String| {
            Failure::usage(format!("{} is not used: {why}", file.display()))
                .next("remove it, or name the issuer and the client by flags or variables: token-server token --help")
        };
        let opened = match fs::File::open(&file) {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable("it cannot be read".to_owned()).because(error)),
        };
        for (what, metadata) in [("the file", opened.metadata()), ("its folder", fs::metadata(folder))] {
            let metadata = metadata.map_err(|error| unusable("it cannot be read".to_owned()).because(error))?;
            if let Some(why) = private_file::writable_by_another(&metadata) {
                return Err(unusable(format!("{what} {why}")));
            }
        }
        let values =
            io::read_to_string(opened).map_err(|error| unusable("it cannot be read".to_owned()).because(error))?;
        let values = development::parse_env_file(&values);
        let Some(issuer) = values.get("TOKEN_ISSUER").cloned() else { return Ok(None) };
        if !is_on_this_machine(&issuer) {
            return Err(unusable(
                "it names an issuer on another machine, which `token-server dev` never does".to_owned(),
            ));
        }
        Ok(Some(Self { file, issuer, values }))
    }

    /// The value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.values.get(name).filter(|value| !value.is_empty()).cloned()
    }
}

fn is_on_this_machine(issuer: &str) -> bool {
    HttpUrl::parse(issuer).is_ok_and(|url| url.is_loopback())
}
