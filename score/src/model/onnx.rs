//! ONNX Runtime through `ort`: the only place that names it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Outlet, Tensor as OrtTensor, TensorElementType, TensorRef, ValueType};

use super::{Model, RunError};
use crate::error::LoadError;
use crate::signature::{Dim, ModelSignature, TensorSpec};
use crate::tensor::{ElementType, Tensor, TensorData};

/// The loaded shared library and its environment. One per process; cloning shares it.
#[derive(Clone)]
pub struct Runtime {
    environment: Arc<Environment>,
    build: String,
}

impl Runtime {
    /// Loads ONNX Runtime (1.24 or newer) from a shared library.
    ///
    /// # Errors
    /// [`LoadError::Runtime`] if the file is missing, is not ONNX Runtime or is too old.
    pub fn load(library: &Path) -> Result<Self, LoadError> {
        let failed = |reason: String| LoadError::Runtime {
            path: library.display().to_string(),
            reason: first_line(&reason),
        };
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
        Ok(Self {
            environment: Arc::new(environment),
            build: ort::info().to_owned(),
        })
    }

    /// What exactly was loaded: release, commit and build flags. Part of every key of a remembered result.
    pub fn build(&self) -> &str {
        &self.build
    }
}

/// One session of one model.
pub(crate) struct OnnxModel {
    session: Session,
    signature: ModelSignature,
}

impl OnnxModel {
    /// Opens a session that computes on the calling thread.
    ///
    /// # Errors
    /// [`LoadError::Model`] if the runtime refuses the file, [`LoadError::Unsupported`] if an input or output is of a
    /// kind that cannot be carried.
    pub(crate) fn load(runtime: &Runtime, file: &Path) -> Result<Self, LoadError> {
        let failed = |reason: String| LoadError::Model {
            path: file.display().to_string(),
            reason: first_line(&reason),
        };
        // ort answers some exotic type declarations with a panic.
        catch_unwind(AssertUnwindSafe(|| {
            let session = open_session(runtime, file).map_err(|error| failed(error.to_string()))?;
            let signature = ModelSignature {
                inputs: specs("input", session.inputs())?,
                outputs: specs("output", session.outputs())?,
            };
            Ok(Self { session, signature })
        }))
        .unwrap_or_else(|panic| Err(failed(format!("unreadable: {}", panic_text(&*panic)))))
    }
}

fn open_session(runtime: &Runtime, file: &Path) -> ort::Result<Session> {
    // Parallelism comes from several sessions, each on its own thread: a second thread inside a run gained nothing
    // for small models, and spinning threads take the core from whoever needs it.
    let mut builder = Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?;
    builder.commit_from_file(file)
}

impl Model for OnnxModel {
    fn signature(&self) -> &ModelSignature {
        &self.signature
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RunError> {
        let values = self
            .signature
            .inputs
            .iter()
            .zip(inputs)
            .map(|(spec, tensor)| Ok((spec.name.as_str(), to_ort(tensor)?)))
            .collect::<ort::Result<Vec<(&str, SessionInputValue<'_>)>>>()
            .map_err(|error| RunError::Failed(first_line(&error.to_string())))?;
        let outputs = self
            .session
            .run(values)
            .map_err(|error| RunError::Rejected(reason(&error.to_string())))?;
        let specs = self.signature.outputs.iter();
        specs
            .map(|spec| {
                let value = outputs.get(spec.name.as_str());
                let value = value.ok_or_else(|| format!("no output {:?}", spec.name))?;
                from_ort(value, spec.element_type)
            })
            .collect::<Result<_, String>>()
            .map_err(RunError::Failed)
    }
}

fn specs(side: &str, outlets: &[Outlet]) -> Result<Vec<TensorSpec>, LoadError> {
    outlets.iter().map(|outlet| spec(side, outlet)).collect()
}

fn spec(side: &str, outlet: &Outlet) -> Result<TensorSpec, LoadError> {
    let unsupported = || {
        LoadError::Unsupported(format!(
            "{side} {:?} is {}, which cannot be served",
            outlet.name(),
            outlet.dtype()
        ))
    };
    let ValueType::Tensor {
        ty,
        shape,
        dimension_symbols,
    } = outlet.dtype()
    else {
        return Err(unsupported());
    };
    let dims = shape.iter().zip(dimension_symbols.iter());
    Ok(TensorSpec {
        name: outlet.name().to_owned(),
        element_type: element_type(*ty).ok_or_else(unsupported)?,
        shape: dims
            .map(|(length, symbol)| match usize::try_from(*length) {
                Ok(length) => Dim::Fixed(length),
                Err(_) => Dim::Dynamic((!symbol.is_empty()).then(|| symbol.clone())),
            })
            .collect(),
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

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// The runtime's message without the source file and function it starts with, which tell a caller nothing.
fn reason(text: &str) -> String {
    let line = first_line(text);
    let without_status = match line.split_once("Status Message: ") {
        Some((_, message)) => message,
        None => &line,
    };
    let message = match without_status.rsplit_once(") ") {
        Some((head, message)) if head.contains(".cc:") || head.contains(".h:") => message,
        _ => without_status,
    };
    message.trim().to_owned()
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("panic")
}
