//! Files that only their owner may read, replaced in one step.

use std::{fs, io, io::Write as _, path::Path};

/// Makes a directory for the owner alone (0700), and its parents.
///
/// # Errors
///
/// When it cannot be made.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Writes a file for the owner alone (0600). A reader sees the old content or the new, never a part.
///
/// # Errors
///
/// When it cannot be written.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    write_with_mode(path, content, 0o600)
}

/// The same, for whom the mode says.
///
/// # Errors
///
/// When it cannot be written.
pub(crate) fn write_with_mode(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let temporary = folder.join(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    let written = write_new(&temporary, content, mode).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // What is left of the attempt holds the same secret.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Makes an empty file for the owner alone, for somebody else to fill.
///
/// # Errors
///
/// When it exists, or cannot be made.
pub(crate) fn reserve(path: &Path) -> io::Result<()> {
    create(path, 0o600).map(drop)
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // One that an earlier process of the same number left behind.
    let _ = fs::remove_file(path);
    let mut file = create(path, mode)?;
    file.write_all(content)?;
    file.sync_all()
}

fn create(path: &Path, mode: u32) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let file = options.open(path)?;
    // The process's umask may have taken bits away that the caller asked for.
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    Ok(file)
}
