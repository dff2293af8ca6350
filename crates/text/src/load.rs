//! Loading a text model: tokenizer, ONNX file, and whether the two belong together.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use score::{
    Cache, Character, ElementType, Evidence, Hints, LoadError, Model, ModelDigest, ModelFolder,
    ModelMetadata, OnnxModel, OpenSession, Rows, RunError, Runtime, Scorer, ScorerOptions, Task,
    TextMetadata, Tokenized, check_options,
};
use tracing::warn;

use crate::company::Company;
use crate::config::wrong;
use crate::folder::TextFolder;
use crate::graph::Graph;
use crate::model::{Session, Shared};
use crate::options::StoredAs;
use crate::pooled;
use crate::results::{default_outputs_of, signature};
use crate::settings::Padding;
use crate::tokenizer::Tokenizer;

/// What the weights of all sessions of a model may take. Beyond it there are fewer sessions, with several threads each.
const MAX_WEIGHT_BYTES: u64 = 1 << 30;

/// A model whose first session is open.
struct Loaded {
    metadata: ModelMetadata,
    first: Session,
    /// How many sessions are to be opened later, and the threads of each.
    later: usize,
    threads: usize,
}

impl TextFolder {
    /// Loads the tokenizer and the ONNX file and starts a scorer. Blocks; not for an async thread. If the ONNX file was
    /// exchanged meanwhile, the model is read and loaded once more.
    ///
    /// # Errors
    /// If a file cannot be loaded or does not stay the same meanwhile, or tokenizer, pooling and ONNX file do not belong
    /// together.
    pub fn load(
        self,
        runtime: &Runtime,
        options: ScorerOptions,
        cache: Arc<Cache>,
    ) -> Result<Scorer, LoadError> {
        let folder = self.folder.clone();
        let mut first = Some(self);
        let (loaded, folder) = folder.load_settled(|folder| {
            let read = first.take().map_or_else(|| Self::read(folder), Ok)?;
            read.load_first(runtime, options)
        })?;
        let Loaded {
            metadata,
            first,
            later,
            threads,
        } = loaded;
        let shared = first.shared.clone();
        let open = |_| open_later(&folder, runtime, threads, &shared);
        let later = (0..later).map(open).collect();
        Scorer::start_texts(
            metadata,
            shared.clone(),
            Box::new(first),
            later,
            options,
            cache,
        )
        .map_err(|error| wrong(&folder.file, error.to_string()))
    }

    /// Opens the first session and tries it out.
    fn load_first(self, runtime: &Runtime, options: ScorerOptions) -> Result<Loaded, LoadError> {
        let start = Instant::now();
        let folder = self.folder.clone();
        let (sessions, threads) = sessions_and_threads(folder.bytes, options);
        let (onnx, tokenizer) = thread::scope(|scope| {
            let tokenizer = scope.spawn(|| Tokenizer::new(&self.tokenizer, &self.settings.stored));
            let onnx = OnnxModel::load(runtime, &folder, threads);
            (onnx, tokenizer.join())
        });
        // Made meanwhile.
        let digest = self.digest()?;
        let file = folder.folder.join("tokenizer.json");
        let tokenizer = tokenizer.unwrap_or_else(|_| Err("loading it panicked".to_owned()));
        let tokenizer = tokenizer.map_err(|reason| wrong(&file, reason))?;
        let (first, deterministic, text) = self.first_session(onnx?, tokenizer)?;
        let signature = signature(&text);
        let default_outputs = check_options(&folder, &signature)?;
        let shown = match folder.options.outputs {
            // Results alone, unless `model.toml` asks for more.
            None => default_outputs_of(text.task),
            Some(_) => usize::MAX,
        };
        let metadata = ModelMetadata {
            name: folder.name.clone(),
            version: folder.version.clone(),
            signature,
            default_outputs: default_outputs.into_iter().take(shown).collect(),
            character: character(deterministic),
            memoize: folder.options.memoize.unwrap_or(deterministic),
            options: folder.options.clone(),
            text: Some(text),
            hints: Hints::default(),
            digest: ModelDigest::new(&digest, runtime.build()),
            load_time: start.elapsed(),
        };
        Ok(Loaded {
            metadata,
            first,
            later: sessions - 1,
            threads,
        })
    }

    /// The first session, whether it gives the same vector twice, and what is known of the model.
    fn first_session(
        self,
        onnx: OnnxModel,
        tokenizer: Tokenizer,
    ) -> Result<(Session, bool, TextMetadata), LoadError> {
        let Self {
            folder,
            settings,
            dense,
            ..
        } = self;
        let graph = Graph::of(&folder, onnx.signature(), &settings.stored)?;
        let padding = match &settings.padding {
            Padding::Id(id) => *id,
            Padding::Token(token) => tokenizer.id_of(token).map_or(0, i64::from),
        };
        let may_share = graph.takes_several && !graph.is_padded() && rows_may_share(&folder)?;
        let company = match may_share {
            true => Company::new(settings.stored.max_tokens, settings.batch_tokens),
            false => Company::never(),
        };
        // What the ONNX file pools has been through all modules.
        let (dense, in_file) = match graph.is_pooled {
            true => (Vec::new(), dense),
            false => (dense, Vec::new()),
        };
        let mut model = Session {
            onnx,
            shared: Arc::new(Shared {
                highest_id: tokenizer.highest_id(),
                dense,
                tokenizer,
                settings,
                graph,
                padding,
                company,
            }),
        };
        let (width, deterministic) = model.try_out(&folder)?;
        pooled::check(&mut model, &folder, &in_file, width)?;
        let text = metadata(&folder, &model.shared, width)?;
        Ok((model, deterministic, text))
    }
}

/// Opens one session more, of the same files as the first one.
fn open_later(
    folder: &ModelFolder,
    runtime: &Runtime,
    threads: usize,
    shared: &Arc<Shared>,
) -> OpenSession {
    let (folder, runtime, shared) = (folder.clone(), runtime.clone(), shared.clone());
    Box::new(move || {
        let (model, digest) = (folder.name.clone(), folder.digest());
        let opened = folder.load_settled(|folder| OnnxModel::load(&runtime, folder, threads));
        let reason = match opened {
            Ok((onnx, now)) if now.digest().ok() == digest.ok() => {
                return Some(Box::new(Session { onnx, shared }));
            }
            Ok(_) => "its files are others by now; restart to serve those".to_owned(),
            Err(error) => error.to_string(),
        };
        warn!(model, reason, "the model goes on with fewer sessions");
        None
    })
}

impl Session {
    /// Runs a text whose token has the highest id of the tokenizer: a model with a smaller vocabulary refuses it. Returns
    /// how many numbers a vector has, or how many labels there are, and whether they are the same twice.
    fn try_out(&mut self, folder: &ModelFolder) -> Result<(usize, bool), LoadError> {
        let shared = self.shared.clone();
        let text = Tokenized {
            ids: vec![shared.highest_id],
            types: vec![0],
            cut: false,
            skipped: 0,
            spans: Vec::new(),
        };
        let failed = |error| match error {
            RunError::Rejected(reason) => wrong(
                &folder.folder.join("tokenizer.json"),
                format!(
                    "its ids go up to {}, and the model refuses a text with that id: the tokenizer and the ONNX file do not \
                     belong together ({reason})",
                    shared.highest_id
                ),
            ),
            other => wrong(&folder.file, other.to_string()),
        };
        let first = self.numbers(&[&text]).map_err(failed)?;
        let again = self.numbers(&[&text]).map_err(failed)?;
        let bits = |numbers: &[Vec<f32>]| -> Vec<u32> {
            numbers
                .iter()
                .flatten()
                .map(|value| value.to_bits())
                .collect()
        };
        let width = first.first().map_or(0, Vec::len);
        Ok((width, bits(&first) == bits(&again)))
    }
}

/// What `model.toml` says of rows, which for texts only decides about common runs.
fn rows_may_share(folder: &ModelFolder) -> Result<bool, LoadError> {
    match folder.options.rows() {
        None | Some(Rows::Independent) => Ok(true),
        Some(Rows::Alone) => Ok(false),
        Some(Rows::Together) => Err(folder.wrong_options(
            "rows: texts are always remembered one by one; say \"alone\" to keep them out of common runs, or take the line out",
        )),
    }
}

fn character(deterministic: bool) -> Character {
    Character {
        rows: Rows::Independent,
        evidence: Evidence::Ensured,
        rows_reason:
            "texts share a run only where a trial found every bit equal, and run alone until then"
                .to_owned(),
        operator: None,
        warning: None,
        deterministic: Some(deterministic),
    }
}

/// What is known of a model whose stored vectors have so many numbers, or that has so many labels.
fn metadata(
    folder: &ModelFolder,
    shared: &Shared,
    width: usize,
) -> Result<TextMetadata, LoadError> {
    let settings = &shared.settings;
    let task = settings.stored.task();
    let (labels, activation) = {
        let scoring = settings.scoring.clone();
        scoring.fit(&folder.folder, task, width)?
    };
    let width = if task == Task::Embedding { width } else { 0 };
    let dimensions = settings.dimensions.unwrap_or(width);
    if dimensions > width {
        return Err(folder.wrong_options(&format!(
            "text.dimensions: {dimensions} is more than the {width} of the model"
        )));
    }
    let stored = &settings.stored;
    let pooling = match &stored.pooling {
        Some(pooling) if !shared.graph.is_pooled => {
            let pooled = settings.width.map(|width| width * pooling.count());
            if shared.dense.is_empty() && pooled.is_some_and(|pooled| pooled != width) {
                let reason = format!(
                    "word_embedding_dimension: {} is not what the ONNX file gives, {} for each token; the pooling and the \
                     model do not belong together",
                    settings.width.unwrap_or(0),
                    width / pooling.count()
                );
                return Err(wrong(&folder.folder.join("1_Pooling/config.json"), reason));
            }
            pooling.to_string()
        }
        _ if task == Task::Embedding => "in the ONNX file".to_owned(),
        _ => String::new(),
    };
    Ok(TextMetadata {
        task,
        pairs: stored.head.as_ref().is_some_and(|head| head.pairs),
        labels,
        activation,
        pooling,
        normalize: settings.normalize,
        max_dimensions: width,
        dimensions,
        max_tokens: stored.max_tokens,
        max_chars: stored.max_chars,
        truncate: stored.truncate,
        prompt: stored.prompt.clone(),
        prompts: settings.prompts.clone(),
        tokenizer: shared.tokenizer.kind(),
        batch_tokens: settings.batch_tokens,
        max_texts: settings.max_texts,
        stored_as: match stored.store {
            StoredAs::Float32 => ElementType::Float32,
            StoredAs::Float16 => ElementType::Float16,
        },
        company: shared.company.found(),
    })
}

/// One session with one thread for each core, as long as that many copies of the weights are affordable.
fn sessions_and_threads(model_bytes: u64, options: ScorerOptions) -> (usize, usize) {
    let cores = options.cores.max(1);
    if let Some(sessions) = options.sessions {
        return (sessions.max(1), 1);
    }
    let affordable = MAX_WEIGHT_BYTES / model_bytes.max(1);
    let sessions = usize::try_from(affordable).unwrap_or(cores).clamp(1, cores);
    (sessions, cores / sessions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_models_have_fewer_sessions_with_more_threads() {
        let options = |sessions| ScorerOptions {
            sessions,
            cores: 8,
            max_rows: 1,
            timeout: std::time::Duration::from_secs(1),
            batch: score::BatchLimits {
                max_waiting_rows: 1,
                max_batch_rows: 1,
                max_inline: std::time::Duration::ZERO,
            },
            cache: score::CachePolicy::Off,
            samples: None,
        };
        assert_eq!(sessions_and_threads(90 << 20, options(None)), (8, 1));
        assert_eq!(sessions_and_threads(500 << 20, options(None)), (2, 4));
        assert_eq!(sessions_and_threads(4 << 30, options(None)), (1, 8));
        assert_eq!(sessions_and_threads(4 << 30, options(Some(2))), (2, 1));
    }
}
