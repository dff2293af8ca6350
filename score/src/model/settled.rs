//! Loading a model whose files may be exchanged meanwhile.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tracing::warn;

use super::folder::ModelFolder;
use crate::error::LoadError;

/// How often a model is loaded whose files change meanwhile.
const MAX_LOADS: usize = 3;
/// The clocks of file systems go by steps of up to two seconds: within one step a second change leaves no trace.
const CLOCK_STEP: Duration = Duration::from_secs(2);

impl ModelFolder {
    /// What `load` makes of this folder, with the folder it was made of: one whose files were the same before and after.
    /// If they were exchanged while it was loaded, `load` is called once more, so that no result is remembered under
    /// the digest of another model.
    ///
    /// # Errors
    /// Those of `load`; [`LoadError::Model`] if a file cannot be read, or the files change each time.
    pub fn load_settled<T>(
        mut self,
        mut load: impl FnMut(&Self) -> Result<T, LoadError>,
    ) -> Result<(T, Self), LoadError> {
        for _ in 0..MAX_LOADS {
            // The digest may be made while the model is loaded where an exchange would show without it.
            let shows = self.stamps.show_changes();
            if !shows {
                self.digest()?;
            }
            let loaded = load(&self)?;
            self.digest()?;
            let now = self.again()?;
            if now.is_still(&self) || !shows && now.digest()? == self.digest()? {
                return Ok((loaded, self));
            }
            warn!(
                model = self.name,
                "the model's files changed while it was loaded; it is loaded again"
            );
            self = now;
        }
        Err(LoadError::Model {
            path: self.file.display().to_string(),
            reason: format!(
                "its files changed each of {MAX_LOADS} times while they were loaded; put them there by one rename, and restart"
            ),
        })
    }
}

/// What the system says of files, which tells an exchange without reading them.
#[derive(Debug, Clone)]
pub(super) struct Stamps {
    taken: SystemTime,
    files: Vec<(PathBuf, Stamp)>,
}

/// A file as it is: another content has another stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds, of the content.
    modified: (i64, i64),
    /// The same for the content or anything else of the file, which no program can set.
    changed: (i64, i64),
}

impl Stamps {
    /// Those of the given files and names, through links.
    ///
    /// # Errors
    /// The text names the file that cannot be read.
    pub(super) fn take<'a>(
        files: impl Iterator<Item = (&'a Path, &'a Path)>,
    ) -> Result<Self, String> {
        let taken = SystemTime::now();
        let stamp = |(file, name): (&Path, &Path)| match fs::metadata(file) {
            Ok(found) => Ok((name.to_owned(), Stamp::of(&found))),
            Err(error) => Err(format!("{} cannot be read: {error}", name.display())),
        };
        let files = files.map(stamp).collect::<Result<_, String>>()?;
        Ok(Self { taken, files })
    }

    /// Whether a change after these were taken would show in later ones.
    pub(super) fn show_changes(&self) -> bool {
        let mut stamps = self.files.iter();
        stamps.all(|(_, stamp)| stamp.is_before(self.taken))
    }

    /// How large the files are together.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, stamp)| stamp.bytes).sum()
    }

    /// Whether all that was read after these were taken and before `later` was the same. `false` if that cannot be told.
    pub(super) fn still_hold(&self, later: &Self) -> bool {
        self.files == later.files && self.show_changes()
    }
}

impl Stamp {
    /// Of the file that was found.
    pub fn of(found: &fs::Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }

    /// Whether a change at `time` or later would show: not with a time of change that is close to it, or makes no sense.
    fn is_before(&self, time: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.modified.max(self.changed);
        let since = |(seconds, nanoseconds)| Duration::new(seconds, nanoseconds);
        let last = u64::try_from(seconds).ok().zip(nanoseconds.try_into().ok());
        let last = last.and_then(|last| SystemTime::UNIX_EPOCH.checked_add(since(last)));
        let age = last.and_then(|last| time.duration_since(last).ok());
        age.is_some_and(|age| age > CLOCK_STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelPlace;

    /// A folder with a model, and a way to change its files.
    fn model() -> (tempfile::TempDir, ModelFolder) {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("m");
        fs::create_dir(&folder).unwrap();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/models");
        fs::copy(data.join("identity_int32.onnx"), folder.join("model.onnx")).unwrap();
        fs::write(folder.join("weights"), "A").unwrap();
        let read = ModelFolder::read(&ModelPlace::of_folder(&folder).unwrap()).unwrap();
        read.digest().unwrap();
        (root, read)
    }

    fn exchange(root: &Path, content: &str) {
        fs::write(root.join("m/weights"), content).unwrap();
    }

    #[test]
    fn a_model_whose_files_are_exchanged_meanwhile_is_loaded_again() {
        let (root, before) = model();
        let mut loads = 0;
        let (loaded, settled) = before
            .clone()
            .load_settled(|_| {
                loads += 1;
                if loads == 1 {
                    exchange(root.path(), "B");
                }
                Ok(fs::read_to_string(root.path().join("m/weights")).unwrap())
            })
            .unwrap();
        assert_eq!((loads, loaded.as_str()), (2, "B"));
        let digest = |folder: &ModelFolder| folder.digest().unwrap();
        assert_ne!(digest(&settled), digest(&before));
        assert_eq!(digest(&settled), digest(&settled.again().unwrap()));
    }

    #[test]
    fn a_digest_that_is_made_after_an_exchange_is_not_that_of_what_was_loaded() {
        let (root, _) = model();
        let place = ModelPlace::of_folder(&root.path().join("m")).unwrap();
        let mut before = ModelFolder::read(&place).unwrap();
        // As if the files had been there for long.
        before.stamps.taken += 2 * CLOCK_STEP;
        assert!(before.stamps.show_changes());
        let (loaded, settled) = before.clone().load_settled(|_| Ok("as it was")).unwrap();
        assert!(settled.is_still(&before));
        assert_eq!(loaded, "as it was");
        let mut loads = 0;
        let (loaded, settled) = before
            .load_settled(|folder| {
                loads += 1;
                let found = fs::read_to_string(root.path().join("m/weights")).unwrap();
                exchange(root.path(), "B");
                folder.digest()?;
                Ok(found)
            })
            .unwrap();
        assert_eq!((loads, loaded.as_str()), (2, "B"));
        assert_eq!(
            settled.digest().unwrap(),
            settled.again().unwrap().digest().unwrap()
        );
    }

    #[test]
    fn files_that_never_settle_are_an_error_that_says_so() {
        let (root, before) = model();
        let mut loads = 0;
        let error = before
            .load_settled(|_| {
                loads += 1;
                exchange(root.path(), &loads.to_string());
                Ok(())
            })
            .unwrap_err();
        assert_eq!(loads, MAX_LOADS);
        assert!(
            error.to_string().contains("changed each of 3 times"),
            "{error}"
        );
    }

    #[test]
    fn stamps_hold_for_old_files_that_stay_and_for_no_others() {
        let root = tempfile::tempdir().unwrap();
        let (file, other) = (root.path().join("a"), root.path().join("b"));
        fs::write(&file, "A").unwrap();
        let at = |seconds: u64| {
            let mut stamps = Stamps::take([(&*file, Path::new("a"))].into_iter()).unwrap();
            stamps.taken += Duration::from_secs(seconds);
            stamps
        };
        let (recent, old) = (at(0), at(10));
        assert!(old.still_hold(&at(20)) && !recent.still_hold(&at(20)));
        // Another file of the same name, content and time of modification.
        fs::copy(&file, &other).unwrap();
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        let opened = fs::File::options().write(true).open(&other).unwrap();
        opened.set_modified(modified).unwrap();
        fs::rename(&other, &file).unwrap();
        assert!(!old.still_hold(&at(20)));
        // One more file.
        let two = [(&*file, Path::new("a")), (&*file, Path::new("b"))].into_iter();
        assert!(!at(10).still_hold(&Stamps::take(two).unwrap()));
        // A clock that is ahead.
        let future = SystemTime::now() + Duration::from_secs(3600);
        opened.set_modified(future).unwrap();
        assert!(!at(10).still_hold(&at(20)));
        fs::remove_file(&file).unwrap();
        let gone = Stamps::take([(&*file, Path::new("a"))].into_iter()).unwrap_err();
        assert!(gone.starts_with("a cannot be read: "), "{gone}");
    }
}
