//! Files that only their owner may read, replaced in one step. Also checks the permissions of existing files.

use std::{fs, io, io::Write as _, os::unix::fs::MetadataExt as _, path::Path};

/// Creates a directory for the owner alone (0700), and its parents.
///
/// # Errors
///
/// When it cannot be created.
pub fn make_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Writes a file that only the owner may read (0600). A reader sees the old content or the new, never a
/// mixture.
///
/// # Errors
///
/// When it cannot be written.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    write_with_mode(path, content, 0o600)
}

/// The same, with the given mode.
///
/// # Errors
///
/// When it cannot be written.
pub fn write_with_mode(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let temporary = folder.join(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    let written = write_temporary(&temporary, content, mode).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The rest of the failed attempt holds the same secret.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Writes a new file that only the owner may read (0600).
///
/// # Errors
///
/// When it exists, or cannot be written.
pub fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    fill(&mut create(path, 0o600)?, content)
}

/// Opens a file, or creates it for the owner alone (0600).
///
/// # Errors
///
/// When it cannot be opened or created.
pub fn open_or_create(path: &Path) -> io::Result<fs::File> {
    match create(path, 0o600) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::File::open(path),
        created => created,
    }
}

/// Creates an empty file that only the owner may read, for another writer to fill.
///
/// # Errors
///
/// When it exists, or cannot be created.
pub(crate) fn reserve(path: &Path) -> io::Result<()> {
    create(path, 0o600).map(drop)
}

/// Returns the reason why another user could have written a file or folder. `None` if none could.
pub fn writable_by_another(metadata: &fs::Metadata) -> Option<&'static str> {
    let (owner, user) = (metadata.uid(), rustix::process::geteuid().as_raw());
    exposed_to_writers(owner, user, metadata.mode())
}

/// Returns the reason why users other than the owner and its group can read or write a file with a secret.
/// `None` if they cannot.
///
/// A file that its group may read is valid: Kubernetes mounts secrets that way for a server that does not run
/// as root.
pub fn exposure(metadata: &fs::Metadata) -> Option<&'static str> {
    match metadata.mode() {
        mode if mode & 0o004 != 0 => Some("every user of this machine may read it"),
        mode if mode & 0o022 != 0 => Some("users other than its owner may write it"),
        _ => None,
    }
}

fn exposed_to_writers(owner: u32, user: u32, mode: u32) -> Option<&'static str> {
    if owner != user {
        Some("belongs to another user")
    } else if mode & 0o022 != 0 {
        Some("may be written by other users")
    } else {
        None
    }
}

fn write_temporary(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // An earlier process with the same process ID may have left one.
    let _ = fs::remove_file(path);
    fill(&mut create(path, mode)?, content)
}

fn fill(file: &mut fs::File, content: &[u8]) -> io::Result<()> {
    file.write_all(content)?;
    file.sync_all()
}

fn create(path: &Path, mode: u32) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let file = options.open(path)?;
    // The umask may have removed bits that the caller requested.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_user_or_that_others_write_is_not_ones_own() {
        assert_eq!(exposed_to_writers(7, 7, 0o100_644), None);
        assert!(exposed_to_writers(0, 7, 0o100_644).is_some());
        for mode in [0o664, 0o646, 0o666, 0o777] {
            assert!(exposed_to_writers(7, 7, mode).is_some(), "{mode:o}");
        }
    }

    #[test]
    fn a_secret_that_everybody_reads_or_a_group_writes_is_exposed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        for (mode, exposed) in
            [(0o600, false), (0o400, false), (0o640, false), (0o644, true), (0o604, true), (0o660, true)]
        {
            write_with_mode(&file, b"secret", mode).unwrap();
            assert_eq!(exposure(&fs::metadata(&file).unwrap()).is_some(), exposed, "{mode:o}");
        }
    }
}
