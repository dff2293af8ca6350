//! Bodies into tensors, beside two parsers that read the same JSON by one and the same visitor.

use divan::Bencher;
use wire::{Declared, Limits};

use crate::samples::{Answer, COLUMNS, Numbers, Sample, metadata, values};
use crate::visitors::Request;

const SAMPLES: [Sample; 8] = [
    sample(1, Numbers::Ints),
    sample(1, Numbers::Short),
    sample(1, Numbers::Python),
    sample(1, Numbers::Pixels),
    sample(64, Numbers::Ints),
    sample(64, Numbers::Short),
    sample(64, Numbers::Python),
    sample(64, Numbers::Pixels),
];

const fn sample(rows: usize, numbers: Numbers) -> Sample {
    Sample { rows, numbers }
}

/// `{"data": rows}`
fn data(sample: Sample) -> Vec<Vec<u8>> {
    let bodies = sample.bodies().into_iter();
    let bodies = bodies.map(|rows| format!("{{\"data\":[[{}]]}}", rows.join("],[")));
    bodies.map(String::into_bytes).collect()
}

/// Of the Open Inference Protocol, up to the tensor's values.
fn inference_head(rows: usize) -> String {
    format!(r#"{{"inputs":[{{"name":"x","shape":[{rows},{COLUMNS}],"datatype":"FP32","#)
}

fn bytes(rows: usize) -> Vec<u8> {
    values(rows).iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Reads the bodies in turn.
fn run<T>(bencher: Bencher<'_, '_>, bodies: &[Vec<u8>], read: impl Fn(&[u8]) -> T) {
    let mut bodies = bodies.iter().cycle();
    bencher
        .with_inputs(|| bodies.next().unwrap())
        .bench_local_values(|body| read(body));
}

const LIMITS: Limits = Limits {
    max_bytes: usize::MAX,
    max_nesting: 16,
    max_rows: usize::MAX,
};

/// Reads the bodies as the handler does.
fn decode(
    bencher: Bencher<'_, '_>,
    bodies: &[Vec<u8>],
    content_type: &str,
    json_bytes: Option<usize>,
) {
    let metadata = metadata(&Answer::Labels.tensor(1));
    let declared = Declared {
        content_type: Some(content_type),
        json_bytes,
        ..Declared::default()
    };
    run(bencher, bodies, |body| {
        let body = wire::decode(body, declared, &metadata, LIMITS).unwrap();
        body.rows().unwrap().inputs
    });
}

#[divan::bench(args = SAMPLES)]
fn json_data(bencher: Bencher<'_, '_>, sample: Sample) {
    decode(bencher, &data(sample), "application/json", None);
}

#[divan::bench(args = SAMPLES)]
fn json_data_by_serde_json(bencher: Bencher<'_, '_>, sample: Sample) {
    run(bencher, &data(sample), |body| {
        let request: Request = serde_json::from_slice(body).unwrap();
        request.data.values
    });
}

#[divan::bench(args = SAMPLES)]
fn json_data_by_sonic_rs(bencher: Bencher<'_, '_>, sample: Sample) {
    run(bencher, &data(sample), |body| {
        let request: Request = sonic_rs::from_slice(body).unwrap();
        request.data.values
    });
}

#[divan::bench(args = SAMPLES)]
fn v2_json(bencher: Bencher<'_, '_>, sample: Sample) {
    let head = inference_head(sample.rows);
    let bodies = sample.bodies().into_iter();
    let bodies = bodies.map(|rows| format!("{head}\"data\":[{}]}}]}}", rows.join(",")));
    let bodies: Vec<_> = bodies.map(String::into_bytes).collect();
    decode(bencher, &bodies, "application/json", None);
}

#[divan::bench(args = [1, 64])]
fn v2_binary(bencher: Bencher<'_, '_>, rows: usize) {
    let (head, bytes) = (inference_head(rows), bytes(rows));
    let size = bytes.len();
    let json = format!("{head}\"parameters\":{{\"binary_data_size\":{size}}}}}]}}");
    let body = [json.as_bytes(), &bytes].concat();
    decode(
        bencher,
        &[body],
        "application/octet-stream",
        Some(json.len()),
    );
}

#[divan::bench(args = [1, 64])]
fn octet_stream(bencher: Bencher<'_, '_>, rows: usize) {
    decode(bencher, &[bytes(rows)], "application/octet-stream", None);
}
