//! Signatures and metadata that tests of several modules start from.

use std::time::Duration;

use score::{
    Character, Dim, ElementType, Evidence, Hints, ModelDigest, ModelMetadata, ModelOptions,
    ModelSignature, Rows, TensorSpec,
};

/// An input or output; -1 stands for a free axis.
pub fn spec(name: &str, element_type: ElementType, shape: &[i64]) -> TensorSpec {
    let axes = shape.iter();
    TensorSpec {
        name: name.into(),
        element_type,
        shape: Some(
            axes.map(|n| usize::try_from(*n).map_or(Dim::Dynamic(None), Dim::Fixed))
                .collect(),
        ),
    }
}

/// An input or output without a declared shape.
pub fn undeclared(name: &str, element_type: ElementType) -> TensorSpec {
    TensorSpec {
        shape: None,
        ..spec(name, element_type, &[])
    }
}

/// A model that answers with all its outputs.
pub fn metadata(signature: ModelSignature) -> ModelMetadata {
    ModelMetadata {
        name: "m".into(),
        version: "1".into(),
        default_outputs: (0..signature.declared.len()).collect(),
        signature,
        character: Character {
            rows: Rows::Independent,
            evidence: Evidence::Declared,
            rows_reason: String::new(),
            operator: None,
            warning: None,
            deterministic: Some(true),
        },
        memoize: true,
        options: ModelOptions::default(),
        digest: ModelDigest::new(&blake3::hash(b"m"), "1"),
        text: None,
        hints: Hints::default(),
        load_time: Duration::ZERO,
    }
}

/// The inputs of a model with columns: a number, a text, and a factor that a request may leave out.
pub fn passengers() -> ModelSignature {
    let age = spec("age", ElementType::Float32, &[-1, 1]);
    let sex = spec("sex", ElementType::String, &[-1]);
    let mut signature = ModelSignature::of_tensors(vec![age, sex], vec![]);
    signature.optional = vec![spec("factor", ElementType::Float64, &[])];
    signature
}
