//! Numbered folders beside each other, each with one version of a model.

use std::path::{Path, PathBuf};

use super::files::OPTIONS;
use super::folder::{ModelOptions, ModelPlace, folders_in, name_of, onnx_files};
use super::options_file::read_options;
use crate::error::LoadError;

impl ModelPlace {
    /// The versions of the model to serve, the one for requests that name none in front: those that `versions` in the
    /// `model.toml` beside them says, else so many with the highest numbers. The place itself if it has no versions. The second
    /// list has those that stand in, one after another, for versions that cannot be loaded.
    ///
    /// # Errors
    /// [`LoadError::Options`] if `model.toml` has a mistake, or names a version that is not there.
    pub fn versions(&self, most: usize) -> Result<(Vec<Self>, Vec<Self>), LoadError> {
        let mut all = numbered(&self.folder);
        let file = self.folder.join(OPTIONS);
        let options = match file.is_file() {
            true => read_options(file)?,
            false => ModelOptions::default(),
        };
        let chosen = match &options.versions {
            None if all.is_empty() => return Ok((vec![self.clone()], Vec::new())),
            None => {
                let lower = all.split_off(most.max(1).min(all.len()));
                std::mem::replace(&mut all, lower)
            }
            Some(wanted) if wanted.is_empty() => {
                return Err(options.wrong("versions: name at least one"));
            }
            Some(wanted) => {
                let chosen = all.iter().filter(|(number, _)| wanted.contains(number));
                let missing = wanted
                    .iter()
                    .find(|n| !all.iter().any(|(there, _)| there == *n));
                if let Some(missing) = missing {
                    let known: Vec<String> = all.iter().map(|(n, _)| n.to_string()).collect();
                    return Err(options.wrong(&match known.is_empty() {
                        true => "versions: there are no numbered folders with ONNX files beside this file".to_owned(),
                        false => format!("versions: there is no version {missing}; there are {}", known.join(", ")),
                    }));
                }
                let chosen = chosen.cloned().collect::<Vec<_>>();
                all.clear();
                chosen
            }
        };
        let place = |(_, folder)| Self {
            name: self.name.clone(),
            folder,
            around: Some(self.folder.clone()),
        };
        let places = |all: Vec<_>| all.into_iter().map(place).collect();
        Ok((places(chosen), places(all)))
    }

    /// The version that lies there: the number of its folder, else `1`.
    pub fn version(&self) -> String {
        newest_version(&self.folder).1
    }
}

/// The folder with the highest number, if the model lies in numbered folders; else the folder itself.
pub(super) fn newest_version(folder: &Path) -> (PathBuf, String) {
    match numbered(folder).into_iter().next() {
        Some((version, folder)) => (folder, version.to_string()),
        None => (
            folder.to_owned(),
            version_of(folder).unwrap_or(1).to_string(),
        ),
    }
}

/// The numbered folders with ONNX files, the highest number first; none if there is one in the folder itself. Of two with
/// the same number, `7` and `007`, only the shorter name counts.
fn numbered(folder: &Path) -> Vec<(u64, PathBuf)> {
    let has_model = |folder: &Path| onnx_files(folder).is_ok_and(|files| !files.is_empty());
    if has_model(folder) {
        return Vec::new();
    }
    let folders = folders_in(folder).unwrap_or_default().into_iter();
    let mut all: Vec<(u64, PathBuf)> = folders
        .filter(|folder| has_model(folder))
        .filter_map(|folder| Some((version_of(&folder)?, folder)))
        .collect();
    all.sort_by_key(|(number, folder)| (std::cmp::Reverse(*number), name_of(folder).len()));
    all.dedup_by_key(|(number, _)| *number);
    all
}

pub(super) fn version_of(folder: &Path) -> Option<u64> {
    let name = name_of(folder);
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A folder with versions of a model, and the text of the `model.toml` beside them.
    fn versions(names: &[&str], options: &str, most: usize) -> Result<Vec<String>, String> {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("m");
        fs::create_dir(&folder).unwrap();
        for name in names {
            fs::create_dir(folder.join(name)).unwrap();
            fs::write(folder.join(name).join("model.onnx"), "").unwrap();
        }
        // A copy that has just begun, and a folder of something else.
        fs::create_dir(folder.join("99")).unwrap();
        fs::write(folder.join("model.toml"), options).unwrap();
        let place = ModelPlace::of_folder(&folder).unwrap();
        let (chosen, lower) = place.versions(most).map_err(|error| error.to_string())?;
        assert!(chosen.iter().chain(&lower).all(|place| place.name == "m"));
        let names = |all: &[ModelPlace]| -> Vec<String> {
            all.iter().map(|place| name_of(&place.folder)).collect()
        };
        let mut all = names(&chosen);
        if !lower.is_empty() {
            all.push("then".to_owned());
            all.extend(names(&lower));
        }
        Ok(all)
    }

    #[test]
    fn the_highest_numbers_are_served_unless_model_toml_names_others() {
        let all = ["1", "2", "10", "v11", "2024-01-01", "+12", "007"];
        assert_eq!(
            versions(&all, "", 1).unwrap(),
            ["10", "then", "007", "2", "1"]
        );
        assert_eq!(
            versions(&all, "", 3).unwrap(),
            ["10", "007", "2", "then", "1"]
        );
        assert_eq!(
            versions(&all, "versions = [1, 10]", 1).unwrap(),
            ["10", "1"]
        );
        assert_eq!(versions(&["7", "007"], "", 9).unwrap(), ["7"]);
        assert_eq!(versions(&[], "", 1).unwrap(), ["m"]);
    }

    #[test]
    fn a_version_that_is_not_there_is_an_error_that_lists_those_there_are() {
        let refusal = versions(&["1", "2"], "versions = [3]", 1).unwrap_err();
        assert!(
            refusal.contains("there is no version 3; there are 2, 1"),
            "{refusal}"
        );
        let refusal = versions(&["1"], "versions = []", 1).unwrap_err();
        assert!(refusal.contains("name at least one"), "{refusal}");
        let refusal = versions(&[], "versions = [3]", 1).unwrap_err();
        assert!(refusal.contains("no numbered folders"), "{refusal}");
    }
}
