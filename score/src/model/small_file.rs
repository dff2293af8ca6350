//! Files of a model's folder that are read as a whole.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The content of a file of at most so many bytes.
///
/// # Errors
/// If it cannot be read; [`io::ErrorKind::InvalidData`] if it is longer, or no regular file.
pub fn read_small_file(file: &Path, most: u64) -> io::Result<Vec<u8>> {
    let refused = || {
        let expected = format!("expected a file of at most {most} bytes");
        io::Error::new(io::ErrorKind::InvalidData, expected)
    };
    // Reading a pipe or a device would not end; not even opening a pipe would.
    if !fs::metadata(file)?.is_file() {
        return Err(refused());
    }
    let opened = File::open(file)?;
    if opened.metadata()?.len() > most {
        return Err(refused());
    }
    let mut content = Vec::new();
    // It may grow meanwhile.
    opened.take(most).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_that_size_are_read() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "12345").unwrap();
        assert_eq!(read_small_file(&file, 5).unwrap(), b"12345");
        for (path, most) in [
            (&*file, 4),
            (root.path(), 1 << 20),
            (Path::new("/dev/zero"), 9),
        ] {
            let error = read_small_file(path, most).unwrap_err();
            let expected = format!("expected a file of at most {most} bytes");
            assert_eq!(error.to_string(), expected);
        }
        let missing = read_small_file(&root.path().join("none"), 1).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
