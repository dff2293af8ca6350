//! The digest of a model's files, made while the model is loaded.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, LazyLock, OnceLock, Weak};
use std::thread;

/// Makes one digest after the other: the files of several models at once would only wait for the disk together. A model that
/// was given up meanwhile is left out.
static BEHIND: LazyLock<Option<Sender<Weak<Digested>>>> = LazyLock::new(|| {
    let (sender, waiting) = mpsc::channel::<Weak<Digested>>();
    let thread = thread::Builder::new().name("digest".to_owned());
    let started = thread.spawn(move || {
        for digested in waiting {
            if let Some(digested) = digested.upgrade() {
                // The one who asks for it is told of an error.
                let _ = digested.get();
            }
        }
    });
    started.is_ok().then_some(sender)
});

/// The digest of some files, which another thread makes: ONNX Runtime can read them meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Digesting(Arc<Digested>);

#[derive(Debug)]
struct Digested {
    files: Vec<(PathBuf, PathBuf)>,
    custom_ops: Option<String>,
    found: OnceLock<Result<blake3::Hash, String>>,
}

impl Digesting {
    /// Starts with these files, each with its name below the folder. Of several libraries in the folder, `custom_ops` is the
    /// one that computes.
    pub(super) fn start(files: Vec<(PathBuf, PathBuf)>, custom_ops: Option<String>) -> Self {
        let digested = Arc::new(Digested {
            files,
            custom_ops,
            found: OnceLock::new(),
        });
        if let Some(behind) = &*BEHIND {
            // Without the thread it is made when it is asked for.
            let _ = behind.send(Arc::downgrade(&digested));
        }
        Self(digested)
    }

    /// The digest. Waits until it is there, and makes it if the other thread has not begun.
    ///
    /// # Errors
    /// The text names the file that cannot be read.
    pub(super) fn get(&self) -> Result<blake3::Hash, String> {
        self.0.get()
    }

    /// Whether both are one.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Digested {
    fn get(&self) -> Result<blake3::Hash, String> {
        self.found.get_or_init(|| self.make()).clone()
    }

    fn make(&self) -> Result<blake3::Hash, String> {
        let mut hasher = blake3::Hasher::new();
        for (file, name) in &self.files {
            let mut content = blake3::Hasher::new();
            let read = fs::File::open(file).and_then(|file| content.update_reader(file).map(drop));
            read.map_err(|error| format!("{} cannot be read: {error}", name.display()))?;
            hasher.update(blake3::hash(name.as_os_str().as_encoded_bytes()).as_bytes());
            hasher.update(content.finalize().as_bytes());
        }
        if let Some(name) = &self.custom_ops {
            hasher.update(blake3::hash(name.as_bytes()).as_bytes());
        }
        Ok(hasher.finalize())
    }
}
