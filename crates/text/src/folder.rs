//! A text model as it lies on disk.

use score::{LoadError, ModelFolder};

use crate::config::read_tokenizer;
use crate::dense::Dense;
use crate::modules::Modules;
use crate::options::TextOptions;
use crate::settings::Settings;

/// Changes where the same files would give other vectors: another way to tokenize or to pool.
const VERSION: &str = "text 1, tokenizers 0.23";

/// The files of a text model beside the ONNX file, read and understood.
#[derive(Debug)]
pub struct TextFolder {
    pub(crate) folder: ModelFolder,
    /// What the digest covers beside the ONNX file.
    digested: Vec<u8>,
    pub(crate) settings: Settings,
    pub(crate) dense: Vec<Dense>,
    /// The content of `tokenizer.json`.
    pub(crate) tokenizer: Vec<u8>,
}

impl TextFolder {
    /// Reads the files beside the ONNX file of a folder that [is one of a text model](ModelFolder::is_text).
    ///
    /// # Errors
    /// If a file is missing or has a mistake, or leaves open what to do; the text names the setting.
    pub fn read(folder: &ModelFolder) -> Result<Self, LoadError> {
        let options = TextOptions::read(folder)?;
        let mut modules = Modules::read(&folder.folder)?;
        let settings = Settings::read(folder, &options, &mut modules)?;
        let tokenizer = read_tokenizer(&modules.transformer)?;
        let stored = serde_json::to_vec(&settings.stored);
        let stored = stored.map_err(|error| folder.wrong_options(&error.to_string()))?;
        let mut digested = [&stored, &tokenizer]
            .map(|part| *blake3::hash(part).as_bytes())
            .concat();
        let dense = modules.dense.iter();
        let dense = dense.map(|module| Dense::read(module, &mut digested));
        let dense = dense.collect::<Result<Vec<Dense>, LoadError>>()?;
        Ok(Self {
            folder: folder.clone(),
            digested,
            settings,
            dense,
            tokenizer,
        })
    }

    /// Digest of every file that shapes a stored result, and of the settings that do. Waits until that of the ONNX file is
    /// made.
    ///
    /// # Errors
    /// If a file of the model cannot be read.
    pub fn digest(&self) -> Result<blake3::Hash, LoadError> {
        let mut digest = blake3::Hasher::new();
        digest.update(VERSION.as_bytes());
        digest.update(self.folder.digest()?.as_bytes());
        digest.update(&self.digested);
        Ok(digest.finalize())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use score::ModelPlace;

    use super::*;

    const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/text/tiny");

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            match path.is_dir() {
                true => copy(&path, &target),
                false => drop(fs::copy(path, target).unwrap()),
            }
        }
    }

    #[test]
    fn folders_need_no_file_that_says_nothing_new() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("tiny");
        copy(Path::new(TINY), &folder);
        let read = || {
            let place = ModelPlace::of_folder(&folder).unwrap();
            TextFolder::read(&ModelFolder::read(&place).unwrap()).map(|read| read.settings)
        };
        let first = read().unwrap().stored;
        // Newer exports lack these two.
        fs::remove_file(folder.join("config.json")).unwrap();
        fs::remove_file(folder.join("tokenizer_config.json")).unwrap();
        assert_eq!(read().unwrap().stored, first);
        let write = |text: &str| fs::write(folder.join("config.json"), text).unwrap();
        // Models with rotary positions name their sizes otherwise; the padding may be null, and ids may be lists.
        write(
            r#"{"architectures":["NomicBertModel"],"n_positions":8,"n_embd":8,"rotary_emb_base":1000,"pad_token_id":null,"eos_token_id":[1,2]}"#,
        );
        assert_eq!(read().unwrap().stored, first);
        write(r#"{"max_position_embeddings":16}"#);
        assert_eq!(read().unwrap().stored.max_tokens, 16);
        write(r#"{"max_position_embeddings":Infinity}"#);
        let message = read().unwrap_err().to_string();
        assert!(message.contains("config.json: expected value"), "{message}");
    }

    #[test]
    fn the_digest_covers_what_shapes_a_vector_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("tiny");
        copy(Path::new(TINY), &folder);
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        let digest = || {
            let place = ModelPlace::of_folder(&folder).unwrap();
            let folder = ModelFolder::read(&place).unwrap();
            assert!(folder.is_text);
            TextFolder::read(&folder).unwrap().digest().unwrap()
        };
        let first = digest();
        for (name, same) in [
            ("[text]\nnormalize = false", true),
            ("[text]\ndimensions = 4\nbatch_tokens = 64", true),
            ("[text.prompts]\nother = \"x\"", true),
            ("[text]\nprompt = \"it is \"", false),
            ("[text]\ntruncate = \"refuse\"", false),
            ("[text]\nmax_tokens = 31", false),
            ("[text]\nmax_chars = 31", false),
            ("[text]\npooling = \"cls\"", false),
            ("[text]\nstore = \"float32\"\nmax_texts = 5", true),
            ("[text]\nstore = \"float16\"", false),
        ] {
            write("model.toml", name);
            assert_eq!(digest() == first, same, "{name}");
        }
        fs::remove_file(folder.join("model.toml")).unwrap();
        fs::create_dir(folder.join("onnx")).unwrap();
        write("onnx/model_int8.onnx", "another variant");
        write("pytorch_model.bin", "weights of another program");
        write("special_tokens_map.json", "{}");
        assert_eq!(digest(), first);
        let tokenizer = fs::read_to_string(folder.join("tokenizer.json")).unwrap();
        write("tokenizer.json", &format!("{tokenizer} "));
        assert_ne!(digest(), first);
    }

    #[test]
    fn the_digest_covers_what_a_dense_module_does_with_its_weights() {
        let root = tempfile::tempdir().unwrap();
        let weights = [0, 0, 128, 63].repeat(6);
        let bias =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2], &weights[..8]);
        let weight = safetensors::tensor::TensorView::new(
            safetensors::Dtype::F32,
            vec![2, 2],
            &weights[8..],
        );
        let tensors = [
            ("linear.bias", bias.unwrap()),
            ("linear.weight", weight.unwrap()),
        ];
        let file = safetensors::serialize(tensors, None).unwrap();
        fs::write(root.path().join("model.safetensors"), file).unwrap();
        let digests = [("Tanh", true, false), ("Identity", true, false), ("Tanh", false, false), ("Tanh", true, true)]
            .map(|(activation, bias, residual)| {
                let config = format!(
                    "{{\"in_features\": 2, \"out_features\": 2, \"bias\": {bias}, \"use_residual\": {residual}, \
                     \"activation_function\": \"torch.nn.modules.activation.{activation}\"}}"
                );
                fs::write(root.path().join("config.json"), config).unwrap();
                let mut digested = Vec::new();
                Dense::read(root.path(), &mut digested).unwrap();
                digested
            });
        for (one, digest) in digests.iter().enumerate() {
            assert!(!digests[..one].contains(digest), "{one}");
        }
    }
}
