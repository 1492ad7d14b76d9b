//! Files: models read with errors that name them, and writing so that a reader never sees half of a file.

use crate::{Bytes, Error, Model};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes a file aside and renames it into place: after a crash or an interrupt the old file, or none, is there, never
/// a part of the new one.
///
/// # Errors
/// What the file system says, with the path.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let fail = |source| Error::io(path, source);
    let name = path.file_name().ok_or_else(|| fail(std::io::ErrorKind::IsADirectory.into()))?;
    let mut aside = std::ffi::OsString::from(".");
    aside.push(name);
    aside.push(format!(".{}.partial", std::process::id()));
    let aside = Aside(path.with_file_name(aside));
    let mut file = fs::File::create(&aside.0).map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail)?;
    drop(file);
    fs::rename(&aside.0, path).map_err(fail)
}

/// Reads a model file; errors name it.
///
/// # Errors
/// When it cannot be read or is not a valid model.
pub fn read_model(path: &Path) -> Result<Model, Error> {
    let bytes = fs::read(path).map_err(|source| Error::io(path, source))?;
    parse_model(path, bytes)
}

/// Reads a model file that nobody writes to while the model lives, without a copy of its constants: see
/// [`Bytes::map_file`]. Errors name it.
///
/// # Errors
/// As [`read_model`].
pub fn map_model(path: &Path) -> Result<Model, Error> {
    let bytes = Bytes::map_file(path).map_err(|source| Error::io(path, source))?;
    parse_model(path, bytes)
}

/// The model in the bytes of a file; errors name the file.
///
/// # Errors
/// When it is not a valid model.
pub fn parse_model(path: &Path, bytes: impl Into<Bytes>) -> Result<Model, Error> {
    Model::from_bytes(bytes).map_err(|source| Error::ModelFile { path: path.to_owned(), source: source.into() })
}

/// Makes a folder and those above it.
///
/// # Errors
/// What the file system says, with the path.
pub fn create_dir(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|source| Error::io(path, source))
}

/// Removes the file if it is still there.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_a_file_and_leaves_nothing_else() {
        let dir = std::env::temp_dir().join(format!("ferrolite-files-{}", std::process::id()));
        create_dir(&dir).unwrap();
        let path = dir.join("a.bin");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        let missing = write(&dir.join("no/such/folder.bin"), b"x").unwrap_err().to_string();
        assert!(missing.contains("folder.bin"), "{missing}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
