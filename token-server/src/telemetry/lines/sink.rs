//! Destinations of lines: a stream that the process inherited, or a file that may be renamed while it is in
//! use.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

/// A destination of lines.
pub(in crate::telemetry) trait Sink: Send + 'static {
    /// Writes some of `bytes`, as [`io::Write::write`] does.
    ///
    /// # Errors
    ///
    /// When nothing could be written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Reopens the path if its file is no longer the open one. `anew` reopens it in any case. Returns true if
    /// further writes go to another file.
    ///
    /// # Errors
    ///
    /// When the path cannot be opened.
    fn renew(&mut self, anew: bool) -> io::Result<bool>;
}

/// Standard output or standard error.
pub(in crate::telemetry) struct Stream(File);

impl Stream {
    /// Uses a handle of its own. The standard library's handle would be locked while it waits for a reader.
    pub(in crate::telemetry) fn of(stream: &impl AsFd) -> io::Result<Self> {
        let descriptor: OwnedFd = stream.as_fd().try_clone_to_owned()?;
        Ok(Self(descriptor.into()))
    }
}

impl Sink for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn renew(&mut self, _: bool) -> io::Result<bool> {
        Ok(false)
    }
}

/// A file by its path. If it is renamed or deleted, a new file is created at the path.
pub(in crate::telemetry) struct NamedFile {
    path: PathBuf,
    file: File,
    identity: Identity,
}

/// Device and inode.
type Identity = (u64, u64);

impl NamedFile {
    /// Opens the file for appending. Creates it if it is missing.
    pub(in crate::telemetry) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        // Opening for reading too shows how the file ends. It also keeps a named pipe without a reader from
        // blocking the start.
        let mut file = match options.clone().read(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => options.open(path)?,
            opened => opened?,
        };
        if ends_within_a_line(&mut file) {
            file.write_all(b"\n")?;
        }
        let identity = identity(&file.metadata()?);
        Ok(Self { path: path.to_owned(), file, identity })
    }

    fn is_elsewhere(&self) -> bool {
        std::fs::metadata(&self.path).map_or(true, |found| identity(&found) != self.identity)
    }
}

impl Sink for NamedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn renew(&mut self, anew: bool) -> io::Result<bool> {
        if !anew && !self.is_elsewhere() {
            return Ok(false);
        }
        let opened = Self::open(&self.path)?;
        let moved = opened.identity != self.identity;
        *self = opened;
        Ok(moved)
    }
}

fn identity(metadata: &std::fs::Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// Returns true if a regular file does not end with a newline: a full disk or a crash truncated its last
/// line.
fn ends_within_a_line(file: &mut File) -> bool {
    let is_regular = file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0);
    let mut last = [0];
    is_regular && file.seek(SeekFrom::End(-1)).is_ok() && file.read_exact(&mut last).is_ok() && last != *b"\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        (folder, path)
    }

    #[test]
    fn a_renamed_file_is_made_anew_at_its_path() {
        let (_folder, path) = folder();
        let mut file = NamedFile::open(&path).unwrap();
        file.write(b"one\n").unwrap();
        assert!(!file.renew(false).unwrap());
        let old = path.with_extension("1");
        std::fs::rename(&path, &old).unwrap();
        assert!(file.renew(false).unwrap());
        file.write(b"two\n").unwrap();
        assert_eq!(std::fs::read(&old).unwrap(), b"one\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"two\n");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn another_file_at_the_path_is_the_one_to_write_to() {
        let (_folder, path) = folder();
        let mut file = NamedFile::open(&path).unwrap();
        let other = path.with_extension("new");
        std::fs::write(&other, "theirs\n").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(file.renew(false).unwrap());
        file.write(b"ours\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"theirs\nours\n");
    }

    #[test]
    fn a_path_that_cannot_be_opened_is_an_error_not_a_lost_line() {
        let (folder, path) = folder();
        let mut file = NamedFile::open(&path).unwrap();
        let elsewhere = folder.path().with_extension("elsewhere");
        std::fs::rename(folder.path(), &elsewhere).unwrap();
        assert!(file.renew(false).is_err());
        std::fs::rename(&elsewhere, folder.path()).unwrap();
        assert!(!file.renew(false).unwrap());
    }

    #[test]
    fn a_line_that_was_cut_off_is_ended_before_the_next() {
        let (_folder, path) = folder();
        std::fs::write(&path, "whole\ncut o").unwrap();
        NamedFile::open(&path).unwrap().write(b"next\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole\ncut o\nnext\n");
    }
}
