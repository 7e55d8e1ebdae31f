//! A reader of one section, setting by setting. It collects mistakes and does not stop at the first one.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretString};
use token_interceptor::http_client::HttpClient;
use token_issuer::key_material::KeyMaterial;

use super::{
    mistake::{Mistake, Place},
    setting::{Setting, describe},
    source::{Node, Table, Value},
};

/// The command that generates a 256-bit key.
const MAKE_KEY: &str = "openssl rand -base64 32";

/// One section of the configuration while it is read.
pub(super) struct Section<'m> {
    name: String,
    entries: Table,
    known: Vec<&'static str>,
    findings: &'m Findings,
}

/// The findings of reading a configuration.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) mistakes: RefCell<Vec<Mistake>>,
    /// The files with secrets.
    pub(super) secret_files: RefCell<Vec<SecretFile>>,
}

/// A file that holds a secret, and the setting that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile {
    /// The setting with its section: `secrets.pepper_file`.
    pub setting: String,
    /// The file.
    pub path: PathBuf,
}

impl<'m> Section<'m> {
    /// The whole configuration as one section.
    pub(super) fn root(entries: Table, findings: &'m Findings) -> Self {
        Self { name: String::new(), entries, known: Vec::new(), findings }
    }

    /// Returns the section of this name, or an empty one.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        self.known.push(key);
        let mut entries = Table::new();
        if let Some(node) = self.entries.get(key) {
            if let Value::Table(table) = &node.value {
                entries = table.clone();
            } else {
                self.reject(key, format!("{} is not a section", describe(&node.value)), &format!("[{key}]"));
            }
        }
        Self { name: self.setting(key), entries, known: Vec::new(), findings: self.findings }
    }

    /// Returns every table of a list of tables: `[[keys.import]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        self.known.push(key);
        let name = self.setting(key);
        let Some(node) = self.entries.get(key) else { return Vec::new() };
        let Value::List(items) = &node.value else {
            self.reject(key, format!("{} is not a list of sections", describe(&node.value)), &format!("[[{name}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items {
            if let Value::Table(entries) = item.value.clone() {
                sections.push(Self { name: name.clone(), entries, known: Vec::new(), findings: self.findings });
            } else {
                self.reject(key, format!("{} is not a section", describe(&item.value)), &format!("[[{name}]]"));
            }
        }
        sections
    }

    /// Returns every member of a table in which the operator chooses the names.
    pub(super) fn table<T: Setting>(&mut self, key: &'static str) -> BTreeMap<String, T> {
        let table = self.section(key);
        let read = |(name, node): (&String, &Node)| match T::read(&node.value) {
            Ok(value) => Some((name.clone(), value)),
            Err(problem) => {
                table.reject(name, problem, T::ALLOWED);
                None
            }
        };
        table.entries.iter().filter_map(read).collect()
    }

    /// Reads the certificates in a PEM file, if one is given.
    pub(super) fn roots(&mut self, key: &'static str) -> Option<Vec<u8>> {
        let pem = std::fs::read(self.file(key)?).ok()?;
        if HttpClient::builder().extra_roots_pem(pem.clone()).build().is_err() {
            self.reject(key, "it contains no certificate".to_owned(), "certificates in PEM");
            return None;
        }
        Some(pem)
    }

    /// Reads an optional setting. Returns `None` also if its value is a mistake.
    pub(super) fn optional<T: Setting>(&mut self, key: &'static str) -> Option<T> {
        self.known.push(key);
        match T::read(&self.entries.get(key)?.value) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.reject(key, problem, T::ALLOWED);
                None
            }
        }
    }

    /// Reads a setting with a default.
    pub(super) fn or<T: Setting>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// Reads a required setting.
    pub(super) fn required<T: Setting>(&mut self, key: &'static str) -> Option<T> {
        if !self.has(key) {
            self.known.push(key);
            self.reject(key, "it is missing".to_owned(), T::ALLOWED);
            return None;
        }
        self.optional(key)
    }

    /// Reads a setting with a default and a range.
    pub(super) fn within<T>(&mut self, key: &'static str, default: T, range: RangeInclusive<T>) -> T
    where
        T: Setting + PartialOrd + Shown,
    {
        let Some(value) = self.optional::<T>(key) else { return default };
        if range.contains(&value) {
            return value;
        }
        let (least, most) = (range.start().shown(), range.end().shown());
        self.reject(key, format!("{} is out of range", value.shown()), &format!("from {least} to {most}"));
        default
    }

    /// Reads the path of an optional file, which must be readable.
    pub(super) fn file(&mut self, key: &'static str) -> Option<PathBuf> {
        let path: PathBuf = self.optional(key)?;
        let found = std::fs::File::open(&path).and_then(|file| file.metadata());
        let readable = found.and_then(|found| match found.is_dir() {
            true => Err(std::io::ErrorKind::IsADirectory.into()),
            false => Ok(()),
        });
        if let Err(error) = readable {
            self.reject(key, format!("{}: {error}", path.display()), "a file that this process may read");
            return None;
        }
        Some(path)
    }

    /// Reads the path of a required file, which must be readable.
    pub(super) fn required_file(&mut self, key: &'static str) -> Option<PathBuf> {
        if self.has(key) { self.file(key) } else { self.required(key) }
    }

    /// Reads a required 256-bit key.
    pub(super) fn required_key(&mut self, key: &'static str, key_file: &'static str) -> Option<KeyMaterial> {
        let given = self.has(key) || self.has(key_file);
        let text = self.secret(key, key_file);
        if !given {
            let variable = super::variable_name(&self.setting(key));
            let allowed = format!("a file that holds it ({MAKE_KEY}), or the variable {variable}");
            self.reject(key_file, "it is missing".to_owned(), &allowed);
        }
        let from = if self.has(key) { key } else { key_file };
        self.key_material(from, &text?)
    }

    /// Reads the 256-bit keys in every file of a list.
    pub(super) fn key_files(&mut self, key: &'static str) -> Vec<KeyMaterial> {
        let files: Vec<PathBuf> = self.optional(key).unwrap_or_default();
        let read = |file: &PathBuf| self.key_material(key, &self.secret_file(key, file)?);
        files.iter().filter_map(read).collect()
    }

    fn key_material(&self, key: &str, text: &SecretString) -> Option<KeyMaterial> {
        let parsed = KeyMaterial::parse(text.expose_secret());
        parsed.map_err(|error| self.reject(key, error.to_string(), &format!("32 random bytes: {MAKE_KEY}"))).ok()
    }

    /// Reads a secret from the file that `<key>_file` names, or from its own variable. The configuration file
    /// cannot hold a secret, because it ends up in backups and version control.
    fn secret(&mut self, key: &'static str, key_file: &'static str) -> Option<SecretString> {
        self.known.push(key);
        let file = self.file(key_file);
        if let Some(node) = self.entries.get(key) {
            if let Value::Variable(text) = &node.value {
                return Some(SecretString::from(text.trim().to_owned()));
            }
            let variable = super::variable_name(&self.setting(key));
            self.reject(
                key,
                "a secret does not belong in this file".to_owned(),
                &format!("{key_file} = \"/path/to/file\", or the variable {variable}"),
            );
            return None;
        }
        self.secret_file(key_file, &file?)
    }

    /// Reads the content of the required file that a setting names.
    pub(super) fn secret_in(&mut self, key: &'static str) -> Option<SecretString> {
        let file = self.required_file(key)?;
        self.secret_file(key, &file)
    }

    /// Marks a setting as known, although another part of the program reads it.
    pub(super) fn known(&mut self, key: &'static str) {
        self.known.push(key);
    }

    /// Returns true if the setting is in the file, not in the environment.
    pub(super) fn is_in_file(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|node| matches!(node.place, Place::File { .. }))
    }

    /// Records that a file holds a secret, so that its permissions are checked.
    pub(super) fn holds_secret(&self, key: &str, file: &Path) {
        let file = SecretFile { setting: self.setting(key), path: file.to_owned() };
        self.findings.secret_files.borrow_mut().push(file);
    }

    fn secret_file(&self, key: &'static str, file: &Path) -> Option<SecretString> {
        self.holds_secret(key, file);
        match std::fs::read_to_string(file) {
            Ok(text) if !text.trim().is_empty() => Some(SecretString::from(text.trim().to_owned())),
            Ok(_) => {
                self.reject(key, format!("{} is empty", file.display()), "a file that contains the secret");
                None
            }
            Err(error) => {
                self.reject(key, format!("{}: {error}", file.display()), "a text file that this process may read");
                None
            }
        }
    }

    /// Returns true if the setting is given.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Records a mistake about a setting.
    pub(super) fn reject(&self, key: &str, problem: String, allowed: &str) {
        let place = self.entries.get(key).map_or(Place::Unset, |node| node.place.clone());
        let mistake = Mistake { place, setting: self.setting(key), problem, allowed: allowed.to_owned() };
        self.findings.mistakes.borrow_mut().push(mistake);
    }

    /// Rejects every setting that was not read, most often a misspelt name.
    pub(super) fn finish(self) {
        self.refuse_unknown();
    }

    /// The same for the root, which outlives its sections.
    pub(super) fn refuse_unknown(&self) {
        let kind = if self.name.is_empty() { "section" } else { "setting" };
        for unknown in self.entries.keys().filter(|key| !self.known.contains(&key.as_str())) {
            let problem = match nearest(unknown, &self.known) {
                Some(near) => format!("there is no such {kind}; did you mean {near:?}?"),
                None => format!("there is no such {kind}"),
            };
            let mut allowed: Vec<&str> = Vec::new();
            for known in &self.known {
                if !allowed.contains(known) {
                    allowed.push(known);
                }
            }
            self.reject(unknown, problem, &allowed.join(", "));
        }
    }

    fn setting(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

/// Returns the known name of which `unknown` is most likely a misspelling.
fn nearest<'k>(unknown: &str, known: &[&'k str]) -> Option<&'k str> {
    // Jaro-Winkler works well for long names. In a short one, such as "ulr", it misses two swapped letters.
    let alike = |name: &&'k str| {
        let slip = strsim::damerau_levenshtein(unknown, name) <= 1 && name.len() > 2;
        (if slip { 1.0 } else { strsim::jaro_winkler(unknown, name) }, *name)
    };
    let best = known.iter().map(alike).max_by(|left, right| left.0.total_cmp(&right.0));
    best.filter(|(likeness, _)| *likeness > 0.8).map(|(_, name)| name)
}

/// The form of a bound in a message.
pub(super) trait Shown {
    /// The value in words.
    fn shown(&self) -> String;
}

impl Shown for Duration {
    fn shown(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

macro_rules! shown_as_written {
    ($($number:ty),*) => {$(
        impl Shown for $number {
            fn shown(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
shown_as_written!(u32, u64, usize, f64);

impl fmt::Debug for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section").field("name", &self.name).finish_non_exhaustive()
    }
}
