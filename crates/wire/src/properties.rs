//! What holds for any body and any tensor.

use half::{bf16, f16};
use proptest::collection::vec;
use proptest::prelude::*;
use score::{CacheOutcome, ElementType, Tensor, TensorData, TensorSpec, Timings};
use serde_json::json;

use super::*;
use crate::json::write::{Flat, Nested};
use crate::samples;
use score::ModelSignature;

fn metadata(inputs: Vec<(String, ElementType, usize)>) -> ModelMetadata {
    let inputs = inputs.into_iter();
    let inputs = inputs.map(|(name, ty, axes)| samples::spec(&name, ty, &vec![-1; axes]));
    let inputs: Vec<TensorSpec> = inputs.collect();
    // It answers with the first of its outputs, which are like its inputs.
    ModelMetadata {
        default_outputs: vec![0],
        ..samples::metadata(ModelSignature::of_tensors(inputs.clone(), inputs))
    }
}

const LIMITS: Limits = Limits {
    max_bytes: 1 << 20,
    max_nesting: 16,
    max_rows: 100,
};

/// Values that are what they are: NaN has no equal, so it is left to other tests.
fn data(ty: ElementType, count: usize) -> BoxedStrategy<TensorData> {
    fn of<T: std::fmt::Debug + 'static>(
        element: impl Strategy<Value = T> + 'static,
        count: usize,
    ) -> BoxedStrategy<TensorData>
    where
        TensorData: From<Vec<T>>,
    {
        vec(element, count).prop_map(TensorData::from).boxed()
    }
    let float = || any::<f64>().prop_filter("no NaN", |v| !v.is_nan());
    match ty {
        ElementType::Bool => of(any::<bool>(), count),
        ElementType::Int8 => of(any::<i8>(), count),
        ElementType::Int16 => of(any::<i16>(), count),
        ElementType::Int32 => of(any::<i32>(), count),
        ElementType::Int64 => of(any::<i64>(), count),
        ElementType::Uint8 => of(any::<u8>(), count),
        ElementType::Uint16 => of(any::<u16>(), count),
        ElementType::Uint32 => of(any::<u32>(), count),
        ElementType::Uint64 => of(any::<u64>(), count),
        ElementType::Float16 => of(float().prop_map(f16::from_f64), count),
        ElementType::BFloat16 => of(float().prop_map(bf16::from_f64), count),
        ElementType::Float32 => of(float().prop_map(|v| v as f32), count),
        ElementType::Float64 => of(float(), count),
        ElementType::String => of(any::<String>(), count),
    }
}

fn tensor() -> impl Strategy<Value = Tensor> {
    let ty = prop::sample::select(ElementType::ALL.to_vec());
    (ty, vec(1usize..4, 0..4)).prop_flat_map(|(ty, shape)| {
        let count = shape.iter().product();
        data(ty, count).prop_map(move |data| Tensor::new(shape.clone(), data).unwrap())
    })
}

fn read(body: &[u8], declared: Declared<'_>, tensor: &Tensor) -> Tensor {
    let metadata = metadata(vec![(
        "x".into(),
        tensor.element_type(),
        tensor.shape().len(),
    )]);
    let body = decode(body, declared, &metadata, LIMITS).unwrap();
    let mut decoded = body.rows().unwrap();
    decoded.inputs.remove(0).tensor
}

/// Strings of JSON become fields, everything else stays as it is.
fn csv_of(tensor: &Tensor, separator: u8) -> Vec<u8> {
    let mut writer = ::csv::WriterBuilder::new()
        .delimiter(separator)
        .from_writer(Vec::new());
    let rows = serde_json::to_value(Nested::of(tensor)).unwrap();
    for row in rows.as_array().unwrap() {
        let cells = row.as_array().unwrap().iter();
        let cells = cells.map(|cell| {
            cell.as_str()
                .map_or_else(|| cell.to_string(), str::to_owned)
        });
        writer.write_record(cells).unwrap();
    }
    writer.into_inner().unwrap()
}

fn matrix() -> impl Strategy<Value = Tensor> {
    let ty = prop::sample::select(ElementType::ALL.to_vec());
    (ty, 1usize..4, 1usize..4).prop_flat_map(|(ty, rows, columns)| {
        data(ty, rows * columns)
            .prop_map(move |data| Tensor::new(vec![rows, columns], data).unwrap())
    })
}

proptest! {
    #[test]
    fn a_matrix_survives_as_a_table(tensor in matrix(), tabs in any::<bool>()) {
        let (content_type, separator) = match tabs {
            true => ("text/tab-separated-values; header=absent", b'\t'),
            false => ("text/csv; header=absent", b','),
        };
        let body = csv_of(&tensor, separator);
        // A first line in which tabs or semicolons separate as well may be refused; what is read is right.
        let declared = Declared { content_type: Some(content_type), ..Declared::default() };
        let metadata = metadata(vec![("x".into(), tensor.element_type(), 2)]);
        let is_text = tensor.element_type() == ElementType::String;
        match decode(&body, declared, &metadata, LIMITS) {
            Ok(read) => {
                let found = &read.rows().unwrap().inputs[0].tensor;
                prop_assert!(is_text || *found == tensor, "{:?}", found);
            }
            Err(error) => prop_assert!(is_text, "{:?}", error),
        }
    }

    #[test]
    fn a_tensor_survives_every_dialect(tensor in tensor()) {
        let nested = serde_json::to_value(Nested::of(&tensor)).unwrap();
        let flat = serde_json::to_value(Flat(tensor.data())).unwrap();
        let (shape, datatype) = (tensor.shape(), tensor.element_type().datatype());
        let input = |data: &serde_json::Value| {
            json!({ "inputs": [{ "name": "x", "shape": shape, "datatype": datatype, "data": data }] })
        };
        let bodies = [
            json!({ "data": nested }),
            json!({ "data": { "x": nested } }),
            json!({ "instances": nested }),
            json!({ "Inputs": { "x": nested } }),
            input(&flat),
            input(&nested),
        ];
        for body in bodies {
            let text = body.to_string();
            prop_assert_eq!(&read(text.as_bytes(), Declared::default(), &tensor), &tensor, "{}", text);
        }
        let mut bytes = Vec::new();
        tensor.data().append_le_bytes(&mut bytes);
        let mut body = json!({ "inputs": [{
            "name": "x", "shape": shape, "datatype": datatype,
            "parameters": { "binary_data_size": bytes.len() },
        }] }).to_string().into_bytes();
        let declared = Declared { json_bytes: Some(body.len()), ..Declared::default() };
        body.append(&mut bytes);
        prop_assert_eq!(&read(&body, declared, &tensor), &tensor);
    }

    #[test]
    fn an_answer_reads_back_as_the_tensor_it_was(tensor in tensor()) {
        let metadata = metadata(vec![("x".into(), tensor.element_type(), tensor.shape().len())]);
        let response = InferenceResponse {
            outputs: vec![NamedTensor { name: "x".into(), tensor: tensor.clone() }],
            rows: 1,
            cache: CacheOutcome::Bypass,
            timings: Timings::default(),
        };
        let answer = encode(&AnswerForm::bare(), None, &metadata, &response).unwrap();
        let body = [b"{\"data\":", &answer.body[..], b"}"].concat();
        prop_assert_eq!(&read(&body, Declared::default(), &tensor), &tensor);
        if let Ok(answer) = encode(&AnswerForm::bare(), Some("application/x-npy"), &metadata, &response) {
            prop_assert_eq!(&read(&answer.body, Declared::default(), &tensor), &tensor);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        body in vec(any::<u8>(), 0..300),
        head in prop::sample::select(vec![
            &b""[..], b"{\"data\":", b"{\"inputs\":[{\"name\":\"x\",", b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', ",
            b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"\x1f\x8b\x08\x00",
        ]),
        content_type in prop::sample::select(vec![
            "application/json", "text/csv", "text/csv; header=present", "text/tab-separated-values",
            "application/json; charset=utf-16", "application/octet-stream", "application/x-npy", "image/png",
        ]),
        json_bytes in prop::option::of(0usize..400),
        shape in prop::option::of("[0-9,x]{0,30}"),
        wrapped in any::<bool>(),
        ty in prop::sample::select(ElementType::ALL.to_vec()),
    ) {
        let body = [head, &body].concat();
        let declared = Declared { content_type: Some(content_type), json_bytes, shape: shape.as_deref(), wrapped, ..Declared::default() };
        for inputs in [1, 2] {
            let inputs = (0..inputs).map(|i| (["x", "y"][i].to_owned(), ty, 2)).collect();
            let _ = decode(&body, declared, &metadata(inputs), LIMITS);
        }
    }

    #[test]
    fn any_json_is_read_or_refused(
        member in prop::sample::select(vec!["data", "instances", "Inputs", "input_data", "inputs", "keys"]),
        value in json_value(),
    ) {
        let body = json!({ member: value }).to_string();
        for inputs in [1, 2] {
            let inputs = (0..inputs).map(|i| (["x", "y"][i].to_owned(), ElementType::Float32, 2)).collect();
            let _ = decode(body.as_bytes(), Declared::default(), &metadata(inputs), LIMITS);
        }
    }
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let names = prop::sample::select(vec![
        "x", "y", "data", "columns", "name", "shape", "datatype", "",
    ]);
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|v| json!(v)),
        any::<i64>().prop_map(|v| json!(v)),
        any::<f64>().prop_map(|v| json!(v)),
        names.clone().prop_map(|v| json!(v)),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|v| json!(v)),
            vec((names.clone(), inner), 0..4)
                .prop_map(|v| v.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}
