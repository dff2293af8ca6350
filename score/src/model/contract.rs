//! What a model has to do: the contract between the sessions of a scorer and, for example, ONNX Runtime.

use crate::signature::ModelSignature;
use crate::tensor::Tensor;

/// Why one run gave no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RunError {
    /// The model cannot work with these values; other values may be fine. The caller gets to read the text.
    #[error("{0}")]
    Rejected(String),
    /// The runtime or the program failed. The text is logged, and callers hear of an internal error only.
    #[error("{0}")]
    Failed(String),
    /// Of a text model: the logits of a text hold this, of which no score can be made.
    #[error("the model gave {0} among its logits")]
    NoNumber(f32),
}

/// One session of a model: turns input tensors into output tensors, one run at a time.
///
/// A [`Scorer`](crate::Scorer) owns several sessions of one model; everything else (checks, cache, queue, batches) lies
/// before them. So an implementation only computes.
///
/// - **Shapes.** The inputs have the element types and shapes of [`Model::signature`]. Axis 0 is the rows where it is
///   dynamic in every input and output; then a run may hold rows of several requests, or a part of the rows of one.
///   With [`Rows::Independent`](crate::Rows::Independent) in the metadata, row i of every output must depend on row i of
///   the inputs alone, and each output must have as many rows as the inputs.
/// - **Threads.** `run` is called on one thread at a time, though not always on the same one: on a thread of the session,
///   or on the thread of a request (a thread of a tokio runtime) if the run is expected to take less than
///   [`BatchLimits::max_inline`](crate::BatchLimits::max_inline). It may block and compute; it must not wait for other
///   tasks of the runtime.
/// - **Cancellation.** There is none: a run that has begun ends. A request that is given up while its rows wait is never
///   run.
/// - **Errors.** If a run with rows of several requests fails, each request is run again alone, so that one bad row costs
///   its own request only. A panic counts as [`RunError::Failed`]; the session is used again.
///
/// A model that adds one:
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use score::{
///     BatchLimits, Cache, CachePolicy, Dim, ElementType, InferenceRequest, Model, ModelDigest,
///     ModelMetadata, ModelSignature, NamedTensor, Rows, RunError, Scorer, ScorerOptions, Tensor,
///     TensorData, TensorSpec,
/// };
///
/// struct AddOne(ModelSignature);
///
/// impl Model for AddOne {
///     fn signature(&self) -> &ModelSignature {
///         &self.0
///     }
///
///     fn run(&mut self, inputs: &[Tensor], _given: &[usize]) -> Result<Vec<Tensor>, RunError> {
///         let mut outputs = Vec::new();
///         for input in inputs {
///             let TensorData::Float32(values) = input.data() else {
///                 return Err(RunError::Failed("not float32".to_owned()));
///             };
///             let sums = TensorData::Float32(values.iter().map(|value| value + 1.0).collect());
///             let output = Tensor::new(input.shape().to_vec(), sums);
///             outputs.push(output.map_err(|error| RunError::Failed(error.to_string()))?);
///         }
///         Ok(outputs)
///     }
/// }
///
/// // One column of numbers in and out, any number of rows.
/// let column = |name: &str| TensorSpec {
///     name: name.to_owned(),
///     element_type: ElementType::Float32,
///     shape: Some(vec![Dim::Dynamic(None), Dim::Fixed(1)]),
/// };
/// let signature = ModelSignature::of_tensors(vec![column("x")], vec![column("y")]);
/// // What the answers depend on beside the inputs: here the program's own version.
/// let digest = ModelDigest::new(&blake3::hash(b"add one, version 1"), "");
/// let metadata = ModelMetadata::new("add_one", signature.clone(), Rows::Independent, digest);
/// let options = ScorerOptions {
///     sessions: None,
///     cores: 1,
///     max_rows: 100,
///     timeout: Duration::from_secs(1),
///     batch: BatchLimits {
///         max_waiting_rows: 1000,
///         max_batch_rows: 32,
///         max_inline: Duration::ZERO,
///     },
///     cache: CachePolicy::Always,
///     samples: None,
/// };
/// // One session, and an in-process cache of 1 MiB.
/// let cache = Arc::new(Cache::new(1 << 20, None));
/// let scorer = Scorer::start(metadata, vec![Box::new(AddOne(signature))], options, cache).unwrap();
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// # runtime.block_on(async {
/// let rows = Tensor::new(vec![2, 1], TensorData::Float32(vec![1.0, 41.0])).unwrap();
/// let request = InferenceRequest {
///     inputs: vec![NamedTensor { name: "x".to_owned(), tensor: rows }],
///     ..InferenceRequest::default()
/// };
/// let response = scorer.score(request).await.unwrap();
/// assert_eq!(response.outputs[0].tensor.data(), &TensorData::Float32(vec![2.0, 42.0]));
/// # });
/// ```
pub trait Model: Send {
    /// What goes in and out. The same for all sessions of a model, and at all times.
    fn signature(&self) -> &ModelSignature;

    /// Runs once on tensors that fit the signature: all required inputs in its order, then the optional ones whose
    /// indices in [`ModelSignature::optional`] are `given`. The outputs come in the order of
    /// [`ModelSignature::outputs`].
    ///
    /// # Errors
    /// [`RunError`] says whether the values or the runtime are at fault.
    fn run(&mut self, inputs: &[Tensor], given: &[usize]) -> Result<Vec<Tensor>, RunError>;

    /// Called on the session's thread when the results of a run are on their way, for what need not delay them. Not called
    /// behind runs on the thread of a request.
    fn after_run(&mut self) {}
}
