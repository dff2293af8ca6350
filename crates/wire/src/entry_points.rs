//! Every way into this crate for bytes from outside: what the targets in `fuzz/` and the bounded run of
//! `cargo test` call. None of them may panic on any bytes.

use std::time::Duration;

use score::{
    Activation, CacheOutcome, ElementType, FeatureFormat, FeatureOptions, InferenceResponse,
    ModelMetadata, ModelSignature, NamedTensor, Tensor, TensorData, Timings,
};

use crate::samples::{metadata, spec};
use crate::text_api::{Answered, Labels, Operation, Ranks, TEXT_APIS, TextRequest, Vectors, Write};
use crate::watch::Unwatched;
use crate::{AnswerForm, Body, Declared, Limits};

const LIMITS: Limits = Limits {
    max_bytes: 1 << 16,
    max_nesting: 8,
    max_rows: 64,
};

/// Models with one matrix, with columns of several types, of texts, and of pictures.
fn models() -> [ModelMetadata; 4] {
    let outputs = || {
        vec![
            spec("label", ElementType::Int64, &[-1]),
            spec("probabilities", ElementType::Float32, &[-1, 2]),
        ]
    };
    let of = |inputs| metadata(ModelSignature::of_tensors(inputs, outputs()));
    [
        of(vec![spec("x", ElementType::Float32, &[-1, 2])]),
        of(vec![
            spec("age", ElementType::Int64, &[-1, 1]),
            spec("sex", ElementType::String, &[-1]),
            spec("weight", ElementType::Float64, &[-1]),
        ]),
        of(vec![spec("text", ElementType::String, &[-1])]),
        of(vec![spec("image", ElementType::Uint8, &[-1, 4, 4, 3])]),
    ]
}

/// A body of JSON, with and without binary tensors behind it.
pub fn json(data: &[u8]) {
    for model in models() {
        for json_bytes in [None, Some(data.len() / 2)] {
            let declared = Declared {
                json_bytes,
                ..Declared::default()
            };
            decode(data, declared, &model);
        }
    }
}

/// A body of each API of text models.
pub fn texts(data: &[u8]) {
    let routes = TEXT_APIS.iter().flat_map(|api| api.routes);
    for route in routes {
        if let Operation::Take(take) = &route.operation {
            let read = take.read(data, Declared::default(), LIMITS, &Unwatched);
            let Ok(request) = read else { continue };
            for write in take.writes {
                answer_texts(write, &request);
            }
        }
    }
}

/// An answer in the form of a route is JSON, whatever the request asks for.
fn answer_texts(write: &Write, request: &TextRequest) {
    let count = request.texts.len();
    let names = ["yes".to_owned(), "no".to_owned()];
    let (tokens, truncated) = (vec![1; count], vec![false; count]);
    let numbers = vec![0.5; 2 * count];
    let about = Answered {
        results: (),
        model: "m",
        id: "r",
        texts: &request.texts,
        tokens: &tokens,
        truncated: &truncated,
        refuses: false,
        took: Duration::ZERO,
    };
    let written = match write {
        Write::Vectors(write) => {
            let values = &numbers[..];
            write(request, &about.with(Vectors { values, width: 2 }))
        }
        Write::Ranks(write) => {
            let (logits, activation) = (&numbers[..count], Activation::Sigmoid);
            write(request, &about.with(Ranks { logits, activation }))
        }
        Write::Labels(write) | Write::AnyLabels(write) => {
            let (names, scores) = (&names[..], &numbers[..]);
            write(request, &about.with(Labels { names, scores }))
        }
        Write::Entities(write) => write(request, &about.with(&vec![Vec::new(); count][..])),
        Write::Weights(write) => write(request, &about.with(&vec![Vec::new(); count][..])),
        Write::TokenVectors(_) | Write::Tokens(_) | Write::Texts(_) => return,
    };
    let document: Result<serde_json::Value, _> = serde_json::from_slice(&written);
    assert!(document.is_ok(), "{request:?}");
}

/// A body of any other format, under every content type that is known.
pub fn formats(data: &[u8]) {
    const TYPES: [&str; 6] = [
        "text/csv",
        "text/tab-separated-values; charset=utf-16",
        "application/octet-stream",
        "application/x-npy",
        "image/png",
        "text/plain; charset=windows-1252",
    ];
    for model in models() {
        for (content_type, wrapped) in TYPES.into_iter().flat_map(|ty| [(ty, false), (ty, true)]) {
            let declared = Declared {
                content_type: Some(content_type),
                wrapped,
                ..Declared::default()
            };
            decode(data, declared, &model);
        }
    }
}

/// A value that is stored under a key.
pub fn stored(data: &[u8]) {
    for mut model in models() {
        for format in [FeatureFormat::Json, FeatureFormat::Npy, FeatureFormat::Raw] {
            model.options.features = Some(FeatureOptions {
                prefix: "p:".to_owned(),
                format,
            });
            let keys = ["k".to_owned()];
            let signature = &model.signature;
            // A value that does not fit is an error, and errors are as good as rows here.
            let _ = crate::read_rows(&keys, &[data], &model.options, signature, 8);
        }
    }
}

/// The header `Accept`.
pub fn accept(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for wanted in ["text/html", "application/x-npy"] {
        let weight = crate::accept::weight(&text, wanted);
        let named = crate::accept::weight_if_named(&text, wanted);
        assert!(!weight.is_nan() && named >= 0.0, "{text:?}");
    }
}

/// Reads a body; what was read fits the model, and an answer in its form can be written.
fn decode(data: &[u8], declared: Declared<'_>, model: &ModelMetadata) {
    let Ok(Body::Rows(decoded)) = crate::decode(data, declared, model, LIMITS) else {
        return;
    };
    for NamedTensor { name, tensor } in &decoded.inputs {
        let spec = model.signature.input(name);
        assert!(
            spec.is_some_and(|spec| spec.check(tensor, "body").is_ok()),
            "{name}"
        );
    }
    answer(&decoded.answer, model);
}

fn answer(form: &AnswerForm, model: &ModelMetadata) {
    let named = |name: &str, shape: &[usize], data: TensorData| {
        Tensor::new(shape.to_vec(), data)
            .ok()
            .map(|tensor| NamedTensor {
                name: name.to_owned(),
                tensor,
            })
    };
    let outputs = [
        named("label", &[2], vec![1i64, 0].into()),
        named(
            "probabilities",
            &[2, 2],
            vec![0.25f32, 0.75, f32::NAN, 1.0].into(),
        ),
    ];
    let response = InferenceResponse {
        outputs: outputs.into_iter().flatten().collect(),
        rows: 2,
        cache: CacheOutcome::Bypass,
        timings: Timings::default(),
    };
    let written = crate::encode(form, None, model, &response);
    assert!(written.is_ok_and(|answer| !answer.body.is_empty()));
}
