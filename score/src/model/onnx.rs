//! ONNX Runtime through `ort`: the only place that names it.

use std::any::Any;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{
    DynMapValueType, DynSequenceValueType, DynTensorValueType, DynValue, IntoTensorElementType,
    Tensor as OrtTensor, TensorElementType, TensorRef, ValueType,
};
use parking_lot::Mutex;

use super::declared::Undeclared;
use super::refusal::{SettingNames, explain, message};
use super::{Model, ModelFolder, RunError, locale};
use crate::error::LoadError;
use crate::signature::{Dim, ModelSignature, OutputForm, OutputSpec, TensorSpec};
use crate::tensor::{ElementType, Tensor, TensorData};

/// The environment of this process, as long as it is used. The lock is held while the library is loaded.
static CURRENT: Mutex<Weak<Environment>> = Mutex::new(Weak::new());

/// The loaded shared library and its environment. One per process; cloning shares it.
#[derive(Clone)]
pub struct Runtime {
    environment: Arc<Environment>,
    build: String,
    custom_ops: bool,
    names: SettingNames,
}

impl Runtime {
    /// Loads ONNX Runtime (1.24 or newer) from a shared library, or shares the one that this process has loaded: there can
    /// be no second one, not even after the first one is dropped.
    ///
    /// # Errors
    /// [`LoadError::Runtime`] if the file is missing, is not ONNX Runtime or is too old.
    pub fn load(library: &Path) -> Result<Self, LoadError> {
        let failed = |reason: String| LoadError::Runtime {
            path: library.display().to_string(),
            reason: first_line(&reason),
        };
        let mut current = CURRENT.lock();
        if let Some(environment) = current.upgrade() {
            return Ok(Self::of(environment));
        }
        let builder = ort::init_from(library).map_err(|error| {
            failed(match error {
                ort::LoadDynamicError::BadVersion { version_str, .. } => {
                    format!("it is version {version_str}; version 1.24 or newer is needed")
                }
                ort::LoadDynamicError::MissingApi { .. } => "it is not ONNX Runtime".to_owned(),
                other => other.to_string(),
            })
        })?;
        let environment = builder
            .with_name("score")
            .with_telemetry(false)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let environment = Arc::new(environment);
        *current = Arc::downgrade(&environment);
        Ok(Self::of(environment))
    }

    fn of(environment: Arc<Environment>) -> Self {
        Self {
            environment,
            build: ort::info().to_owned(),
            custom_ops: false,
            names: SettingNames::default(),
        }
    }

    /// The same runtime, which may or may not load the libraries of operators that models bring: native code, which runs
    /// with all rights of the process. At first it may not.
    #[must_use]
    pub fn with_custom_ops(self, allowed: bool) -> Self {
        Self {
            custom_ops: allowed,
            ..self
        }
    }

    /// The same runtime, whose errors name the program's settings.
    #[must_use]
    pub fn with_setting_names(self, names: SettingNames) -> Self {
        Self { names, ..self }
    }

    /// What exactly was loaded: release, commit and build flags. Part of every key of a remembered result.
    pub fn build(&self) -> &str {
        &self.build
    }
}

/// One session of one model.
pub struct OnnxModel {
    session: Session,
    signature: ModelSignature,
}

impl OnnxModel {
    /// Opens a session that computes on so many threads, the calling one among them.
    ///
    /// # Errors
    /// [`LoadError::Model`] if the runtime refuses the file, [`LoadError::Unsupported`] if an input or output is of a
    /// kind that cannot be carried.
    pub fn load(
        runtime: &Runtime,
        folder: &ModelFolder,
        threads: usize,
    ) -> Result<Self, LoadError> {
        let file = &folder.file;
        let failed = |reason: String| LoadError::Model {
            path: file.display().to_string(),
            reason,
        };
        let operators = operators(runtime, folder)?;
        // ort answers some exotic type declarations with a panic.
        catch_unwind(AssertUnwindSafe(|| {
            let session = open_session(runtime, file, operators.as_deref(), threads)
                .map_err(|error| failed(explain(&error.to_string(), file, runtime.names)))?;
            let mut signature = signature(&session)?;
            forget_undeclared_shapes(&mut signature, file)?;
            Ok(Self { session, signature })
        }))
        .unwrap_or_else(|panic| {
            let reason = first_line(panic_text(&*panic));
            Err(failed(format!("unreadable: {reason}")))
        })
    }
}

/// The model's library of operators, if it has one and may have one.
fn operators(runtime: &Runtime, folder: &ModelFolder) -> Result<Option<PathBuf>, LoadError> {
    let Some(library) = &folder.files.custom_ops else {
        return Ok(None);
    };
    if !runtime.custom_ops {
        return Err(folder.wrong_options(&format!(
            "custom_ops: the library is native code, which would run with all rights of this process; {} allows that",
            runtime.names.custom_ops
        )));
    }
    // Absolute, since the loader searches the system for a bare name.
    let library = std::path::absolute(library);
    let library = library.map_err(|error| folder.wrong_options(&format!("custom_ops: {error}")))?;
    Ok(Some(library))
}

fn open_session(
    runtime: &Runtime,
    file: &Path,
    operators: Option<&Path>,
    threads: usize,
) -> ort::Result<Session> {
    // Spinning threads take the core from threads that have work.
    let mut builder = Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?;
    if let Some(library) = operators {
        builder = builder.with_operator_library(library)?;
    }
    let refusal = match builder.commit_from_file(file) {
        Err(refusal) if locale::is_missing(&refusal.to_string()) => refusal,
        opened => return opened,
    };
    let Ok(Some(model)) = locale::replaced(file) else {
        return Err(refusal);
    };
    let around = file.parent().unwrap_or(Path::new("")).to_string_lossy();
    builder
        .with_config_entry(
            "session.model_external_initializers_file_folder_path",
            around,
        )?
        .commit_from_memory(&model)
}

impl Model for OnnxModel {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    fn run(&mut self, inputs: &[Tensor], given: &[usize]) -> Result<Vec<Tensor>, RunError> {
        let optional = given
            .iter()
            .filter_map(|index| self.signature.optional.get(*index));
        let specs = self.signature.inputs.iter().chain(optional);
        let values = specs
            .zip(inputs)
            .map(|(spec, tensor)| Ok((spec.name.as_str(), to_ort(tensor)?)))
            .collect::<ort::Result<Vec<(&str, SessionInputValue<'_>)>>>()
            .map_err(|error| RunError::Failed(first_line(&error.to_string())))?;
        let outputs = self.session.run(values).map_err(|error| {
            RunError::Rejected(message(&first_line(&error.to_string())).to_owned())
        })?;
        let mut tensors = Vec::with_capacity(self.signature.outputs.len());
        for output in &self.signature.declared {
            let value = outputs.get(output.name.as_str());
            let value = value.ok_or_else(|| format!("no output {:?}", output.name));
            let value = value.map_err(RunError::Failed)?;
            extract(value, output.form, &self.signature, &mut tensors).map_err(RunError::Failed)?;
        }
        Ok(tensors)
    }
}

/// Appends the tensors an output is made up of.
fn extract(
    value: &DynValue,
    form: OutputForm,
    signature: &ModelSignature,
    tensors: &mut Vec<Tensor>,
) -> Result<(), String> {
    let type_of = |index: usize| signature.outputs[index].element_type;
    match form {
        OutputForm::Tensor(index) => tensors.push(from_ort(value, type_of(index))?),
        OutputForm::Maps { keys, .. } => tensors.extend(from_maps(value, type_of(keys))?),
        OutputForm::Sequence { elements, .. } => {
            tensors.extend(from_sequence(value, type_of(elements))?);
        }
    }
    Ok(())
}

fn signature(session: &Session) -> Result<ModelSignature, LoadError> {
    let tensor = |side, name: &str, dtype: &ValueType| {
        tensor_spec(name, dtype).ok_or_else(|| unsupported(side, name, dtype))
    };
    let mut signature = ModelSignature::default();
    for input in session.inputs() {
        signature
            .inputs
            .push(tensor("input", input.name(), input.dtype())?);
    }
    for input in session.overridable_initializers() {
        // One that cannot be carried keeps the value it has.
        signature
            .optional
            .extend(tensor_spec(input.name(), input.dtype()));
    }
    for output in session.outputs() {
        let (name, dtype) = (output.name(), output.dtype());
        let form = add_output(&mut signature.outputs, name, dtype)
            .ok_or_else(|| unsupported("output", name, dtype))?;
        signature.declared.push(OutputSpec {
            name: name.to_owned(),
            form,
        });
    }
    Ok(signature)
}

/// The runtime gives a shape without axes for a scalar and for what has no declared shape; only the file tells which.
///
/// # Errors
/// [`LoadError::Unsupported`] if an input has none and the model could not bear any number of axes: a single request
/// might end the process.
fn forget_undeclared_shapes(signature: &mut ModelSignature, file: &Path) -> Result<(), LoadError> {
    let inputs = signature.inputs.iter_mut().chain(&mut signature.optional);
    let all = inputs.chain(&mut signature.outputs);
    let mut bare: Vec<&mut TensorSpec> = all.filter(|spec| spec.dims().is_empty()).collect();
    if bare.is_empty() {
        return Ok(());
    }
    let undeclared = Undeclared::in_file(file);
    bare.retain(|spec| undeclared.shapes_of.contains(&spec.name));
    for spec in bare {
        spec.shape = None;
    }
    let mut inputs = signature.inputs.iter().chain(&signature.optional);
    let input = inputs.find(|spec| spec.shape.is_none());
    match (input, undeclared.unchecked) {
        (Some(input), Some(operator)) => Err(LoadError::Unsupported(format!(
            "input {:?} has no declared shape, and its operator {operator} ends the process on a tensor with another \
             number of axes than it needs, so it cannot be served; declare the input's shape in the ONNX file, with a \
             name for each free axis",
            input.name
        ))),
        _ => Ok(()),
    }
}

fn unsupported(side: &str, name: &str, dtype: &ValueType) -> LoadError {
    LoadError::Unsupported(format!(
        "{side} {name:?} is {dtype}, which cannot be served"
    ))
}

/// Adds the tensors that an output is made up of; `None` for a kind that cannot be carried.
fn add_output(tensors: &mut Vec<TensorSpec>, name: &str, dtype: &ValueType) -> Option<OutputForm> {
    let first = tensors.len();
    let mut add = |name: String, element_type, axes| {
        tensors.push(TensorSpec {
            name,
            element_type,
            shape: Some(vec![Dim::Dynamic(None); axes]),
        });
    };
    match dtype {
        ValueType::Tensor { .. } => {
            tensors.push(tensor_spec(name, dtype)?);
            Some(OutputForm::Tensor(first))
        }
        ValueType::Sequence(inner) => match &**inner {
            ValueType::Map {
                key: key @ (TensorElementType::Int64 | TensorElementType::String),
                value: TensorElementType::Float32,
            } => {
                add(format!("{name}.keys"), element_type(*key)?, 2);
                add(name.to_owned(), ElementType::Float32, 2);
                Some(OutputForm::Maps {
                    keys: first,
                    values: first + 1,
                })
            }
            ValueType::Tensor { ty, .. } => {
                add(name.to_owned(), element_type(*ty)?, 1);
                add(format!("{name}.shapes"), ElementType::Int64, 1);
                Some(OutputForm::Sequence {
                    elements: first,
                    shapes: first + 1,
                })
            }
            _ => None,
        },
        _ => None,
    }
}

fn tensor_spec(name: &str, dtype: &ValueType) -> Option<TensorSpec> {
    let ValueType::Tensor {
        ty,
        shape,
        dimension_symbols,
    } = dtype
    else {
        return None;
    };
    let axes = shape.iter().zip(dimension_symbols.iter());
    let dims = axes.map(|(length, symbol)| match usize::try_from(*length) {
        Ok(length) => Dim::Fixed(length),
        Err(_) => Dim::Dynamic((!symbol.is_empty()).then(|| symbol.clone())),
    });
    Some(TensorSpec {
        name: name.to_owned(),
        element_type: element_type(*ty)?,
        shape: Some(dims.collect()),
    })
}

fn element_type(ty: TensorElementType) -> Option<ElementType> {
    Some(match ty {
        TensorElementType::Bool => ElementType::Bool,
        TensorElementType::Int8 => ElementType::Int8,
        TensorElementType::Int16 => ElementType::Int16,
        TensorElementType::Int32 => ElementType::Int32,
        TensorElementType::Int64 => ElementType::Int64,
        TensorElementType::Uint8 => ElementType::Uint8,
        TensorElementType::Uint16 => ElementType::Uint16,
        TensorElementType::Uint32 => ElementType::Uint32,
        TensorElementType::Uint64 => ElementType::Uint64,
        TensorElementType::Float16 => ElementType::Float16,
        TensorElementType::Bfloat16 => ElementType::BFloat16,
        TensorElementType::Float32 => ElementType::Float32,
        TensorElementType::Float64 => ElementType::Float64,
        TensorElementType::String => ElementType::String,
        _ => return None,
    })
}

/// Numbers are lent to the runtime where they lie; strings are copied, as the runtime keeps its own.
fn to_ort(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>> {
    macro_rules! lend {
        ($($variant:ident),*) => {
            match tensor.data() {
                $(TensorData::$variant(v) => {
                    TensorRef::from_array_view((tensor.shape(), v.as_slice()))?.into()
                })*
                TensorData::String(v) => {
                    OrtTensor::from_string_array((tensor.shape(), v.as_slice()))?.into()
                }
            }
        };
    }
    Ok(lend!(
        Bool, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64, Float16, BFloat16, Float32,
        Float64
    ))
}

fn from_ort(value: &DynValue, ty: ElementType) -> Result<Tensor, String> {
    macro_rules! copy {
        ($($variant:ident),*) => {
            match ty {
                $(ElementType::$variant => {
                    let (shape, data) = value.try_extract_tensor().map_err(|e| e.to_string())?;
                    (shape, TensorData::$variant(data.to_vec()))
                })*
                ElementType::String => {
                    let (shape, data) = value.try_extract_strings().map_err(|e| e.to_string())?;
                    (shape, TensorData::String(data))
                }
            }
        };
    }
    let (shape, data) = copy!(
        Bool, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64, Float16, BFloat16, Float32,
        Float64
    );
    let shape = shape.iter().map(|n| usize::try_from(*n).unwrap_or(0));
    Tensor::new(shape.collect(), data).map_err(|error| error.to_string())
}

/// One map per row becomes a matrix of keys and one of values, the keys sorted: the runtime's own order may change.
fn from_maps(value: &DynValue, keys: ElementType) -> Result<[Tensor; 2], String> {
    match keys {
        ElementType::String => key_value_matrices::<String>(value),
        _ => key_value_matrices::<i64>(value),
    }
}

fn key_value_matrices<K>(value: &DynValue) -> Result<[Tensor; 2], String>
where
    K: IntoTensorElementType + Clone + Hash + Ord,
    TensorData: From<Vec<K>>,
{
    let sequence = value
        .view()
        .downcast::<DynSequenceValueType>()
        .map_err(|error| error.to_string())?;
    let maps = sequence
        .try_extract_sequence::<DynMapValueType>()
        .map_err(|error| error.to_string())?;
    let rows = maps.len();
    let (mut all_keys, mut all_values, mut width) = (Vec::new(), Vec::new(), None);
    for map in maps {
        let pairs = map.try_extract_key_values::<K, f32>();
        let mut pairs = pairs.map_err(|error| error.to_string())?;
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        if *width.get_or_insert(pairs.len()) != pairs.len() {
            return Err("the maps of the rows differ in length".to_owned());
        }
        for (key, value) in pairs {
            all_keys.push(key);
            all_values.push(value);
        }
    }
    let shape = vec![rows, width.unwrap_or(0)];
    let keys = Tensor::new(shape.clone(), all_keys.into());
    let values = Tensor::new(shape, all_values.into());
    let together = keys.and_then(|keys| Ok([keys, values?]));
    together.map_err(|error| error.to_string())
}

fn from_sequence(value: &DynValue, ty: ElementType) -> Result<[Tensor; 2], String> {
    let sequence = value
        .view()
        .downcast::<DynSequenceValueType>()
        .map_err(|error| error.to_string())?;
    let items = sequence
        .try_extract_sequence::<DynTensorValueType>()
        .map_err(|error| error.to_string())?;
    let mut elements = TensorData::with_capacity(ty, 0);
    let mut shapes: Vec<i64> = Vec::new();
    for item in items {
        let tensor = from_ort(&item.into_dyn(), ty)?;
        shapes.push(tensor.shape().len() as i64);
        shapes.extend(tensor.shape().iter().map(|length| *length as i64));
        elements.extend_from(tensor.data(), 0..tensor.data().len());
    }
    let elements = Tensor::new(vec![elements.len()], elements);
    let shapes = Tensor::new(vec![shapes.len()], shapes.into());
    let together = elements.and_then(|elements| Ok([elements, shapes?]));
    together.map_err(|error| error.to_string())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("panic")
}
