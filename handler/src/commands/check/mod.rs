//! `handler check`: loads models as the server does and has each score its sample request once.

mod report;

use std::path::Path;

use anyhow::{Context, bail};
use score::{
    Cache, CacheUse, InferenceRequest, LoadError, ModelFolder, ModelMetadata, ModelPlace, Runtime,
    ScoreError, Scorer, TextOptions, find_models,
};
use serde_json::Value;
use std::sync::Arc;
use wire::{Declared, sample_request};

use super::arguments::CheckArguments;
use super::model_source::ModelSource;
use crate::config::{Config, SETTING_NAMES};
use crate::limits::body_limits;
use crate::models::{Loadable, below, find_runtime, scorer_options};
use crate::protocol::{Function, Trigger, read_functions, refuse_open};
use crate::telemetry::logging::{answer, complain};

/// Runs the command.
///
/// # Errors
/// If any model has a problem; the text names all of them.
pub(crate) fn run(arguments: &CheckArguments, config: &Config) -> anyhow::Result<()> {
    // Single files are copied into model folders here, because the server loads folders.
    let scratch = tempfile::tempdir().context("no temporary folder can be made")?;
    let mut config = config.clone();
    if let Some(folder) = &arguments.model_dir {
        config.model_dir.clone_from(folder);
    }
    let mut problems = Vec::new();
    let places = match arguments.models.is_empty() {
        true => {
            let functions = read_functions(&config.app_root).and_then(|functions| {
                refuse_open(&functions, config.means_open())?;
                Ok(functions)
            });
            match functions {
                Ok(functions) => problems.extend(blob_problem(&functions, &config)),
                Err(error) => problems.push(format!("{error:#}")),
            }
            places_in(&config)?
        }
        false => {
            config.model_dir = scratch.path().to_owned();
            let named = arguments.models.iter().map(|path| place_of(path, &scratch));
            let mut places = Vec::new();
            for place in named {
                match place {
                    Ok(place) => places.push(place),
                    Err(error) => problems.push(format!("{error:#}")),
                }
            }
            places
        }
    };
    let (build, models) = check(&config, &find_runtime(&config)?, &places)?;
    problems.extend(models.iter().filter_map(CheckedModel::problem));
    if let Some(name) = &config.default_model
        && arguments.models.is_empty()
        && !models.iter().any(|model| model.name == *name)
    {
        problems.push(format!(
            "SCORE_DEFAULT_MODEL={name:?}: there is no such model"
        ));
    }
    answer(&match arguments.json {
        true => report::json(&build, &models, &problems),
        false => report::text(&models),
    })?;
    match problems.is_empty() {
        true => Ok(()),
        false => bail!("{}", problems.join("; ")),
    }
}

/// Why a function for large blobs would not work, if there is one.
fn blob_problem(functions: &[Function], config: &Config) -> Option<String> {
    let function = functions
        .iter()
        .find(|function| matches!(function.trigger, Trigger::LargeBlob(_)))?;
    #[cfg(feature = "blobs")]
    let problem = crate::blobs::Blobs::problem(config);
    #[cfg(not(feature = "blobs"))]
    let problem = {
        let _ = config;
        Some("this build does not score large blobs".to_owned())
    };
    problem.map(|problem| format!("function {:?}: {problem}", function.name))
}

/// A model that was loaded and tried.
pub(crate) struct CheckedModel {
    /// Its name.
    pub(crate) name: String,
    /// What it takes and gives; the text says why it cannot be loaded.
    pub(crate) loaded: Result<Loaded, String>,
}

/// A model that can be loaded.
pub(crate) struct Loaded {
    metadata: ModelMetadata,
    /// A request, and its result; `None` for a model whose rows are too wide for one.
    sample: Option<(Value, Sampled)>,
}

/// The result of a sample request.
enum Sampled {
    /// The body of the answer.
    Answer(String),
    /// The model refuses the made-up values, but may take others.
    Refused(String),
    /// An error that no request must cause.
    Failed(String),
}

impl CheckedModel {
    /// The reason why it must not be deployed, if there is one.
    pub(crate) fn problem(&self) -> Option<String> {
        let reason = match &self.loaded {
            Err(reason) => reason,
            Ok(Loaded {
                sample: Some((_, Sampled::Failed(reason))),
                ..
            }) => reason,
            Ok(_) => return None,
        };
        Some(format!("model {:?}: {reason}", self.name))
    }
}

/// Loads all of them with this library; the first part is the runtime's build.
///
/// # Errors
/// If the library or the async runtime cannot be started. What is wrong with a model is in the result.
pub(crate) fn check(
    config: &Config,
    library: &Path,
    places: &[ModelPlace],
) -> anyhow::Result<(String, Vec<CheckedModel>)> {
    let onnx = Runtime::load(library)?
        .with_custom_ops(config.custom_ops)
        .with_setting_names(SETTING_NAMES);
    let tasks = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the async runtime cannot be started")?;
    let _entered = tasks.enter();
    let mut models = Vec::with_capacity(places.len());
    let mut versions = Vec::with_capacity(places.len());
    for place in places {
        match place.versions(config.versions) {
            Ok((wanted, _)) => versions.extend(wanted),
            // What is wrong is told when it is read.
            Err(_) => versions.push(place.clone()),
        }
    }
    for place in &versions {
        complain("", [format!("checking model {}", place.name)]);
        let loaded = load(&onnx, place, config).map(|scorer| {
            let request = sample_request(scorer.metadata());
            let sample = request.map(|request| {
                let sampled = tasks.block_on(try_sample(&scorer, &request, config));
                (request, sampled)
            });
            Loaded {
                metadata: scorer.metadata().clone(),
                sample,
            }
        });
        models.push(CheckedModel {
            name: place.name.clone(),
            loaded: loaded.map_err(|error| below(&config.model_dir, &error.to_string())),
        });
    }
    Ok((onnx.build().to_owned(), models))
}

/// The models that the server would load.
///
/// # Errors
/// If there are none.
pub(crate) fn places_in(config: &Config) -> anyhow::Result<Vec<ModelPlace>> {
    let shown = config.model_dir.display();
    let places = find_models(&config.model_dir)
        .with_context(|| format!("the model folder {shown} cannot be read"))?;
    if places.is_empty() {
        bail!("no model in {shown}: put one into {shown}/<name>/model.onnx");
    }
    Ok(places)
}

fn place_of(path: &Path, scratch: &tempfile::TempDir) -> anyhow::Result<ModelPlace> {
    let source = ModelSource::read(path)?;
    match source.place {
        Some(place) => Ok(place),
        None => {
            source.copy_to(scratch.path())?;
            Ok(ModelPlace::of_folder(&scratch.path().join(&source.name))?)
        }
    }
}

fn load(onnx: &Runtime, place: &ModelPlace, config: &Config) -> Result<Scorer, LoadError> {
    let folder = ModelFolder::read(place)?;
    let memo = Arc::new(Cache::new(0, None));
    Loadable::of(folder)?.load(onnx, scorer_options(config), memo)
}

async fn try_sample(scorer: &Scorer, request: &Value, config: &Config) -> Sampled {
    let metadata = scorer.metadata();
    let body = request.to_string();
    let limits = body_limits(config);
    let decoded = wire::decode(body.as_bytes(), Declared::default(), metadata, limits);
    let Some(decoded) = decoded.ok().and_then(wire::Body::rows) else {
        return Sampled::Failed("its own sample request cannot be read".to_owned());
    };
    let request = InferenceRequest {
        inputs: decoded.inputs,
        cache: CacheUse::Bypass,
        joint: None,
        text: TextOptions::default(),
    };
    let answer = match scorer.score(request).await {
        Ok(response) => wire::encode(&decoded.answer, None, metadata, &response),
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) => Sampled::Answer(String::from_utf8_lossy(&answer.body).into_owned()),
        Err(error @ ScoreError::ModelRejected(_)) => Sampled::Refused(error.to_string()),
        Err(error) => Sampled::Failed(format!("its sample request: {error}")),
    }
}
