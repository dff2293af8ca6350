//! The sample model's test digits and what scikit-learn itself says of them.

use serde_json::{Value, json};

use super::app_root::repository;
use functions_host::host_config::read_json;

/// 100 handwritten digits with the labels of the model the ONNX file was made from.
pub(crate) struct Digits {
    /// One array of 784 numbers each.
    pub(crate) rows: Vec<Value>,
    /// What scikit-learn answers.
    pub(crate) labels: Vec<i64>,
    /// Its ten probabilities for each.
    pub(crate) probabilities: Vec<Vec<f64>>,
}

impl Digits {
    /// Reads them from `examples/mnist`.
    pub(crate) fn load() -> Self {
        let folder = repository().join("examples/mnist");
        let digits = read_json(&folder.join("digits.json"));
        let expected = read_json(&folder.join("labels.json"));
        let read = |name: &str| expected[name].clone();
        let digits = Self {
            rows: digits["data"].as_array().expect("rows").clone(),
            labels: serde_json::from_value(read("scikit_learn")).expect("labels"),
            probabilities: serde_json::from_value(read("probabilities")).expect("probabilities"),
        };
        assert_eq!(digits.rows.len(), 100);
        digits
    }

    /// `{"data": [...]}` with the given rows.
    pub(crate) fn body(&self, rows: impl IntoIterator<Item = usize>) -> Vec<u8> {
        let rows: Vec<&Value> = rows.into_iter().map(|row| &self.rows[row]).collect();
        json!({ "data": rows }).to_string().into_bytes()
    }

    /// The same rows in the Open Inference Protocol, asking for both outputs.
    pub(crate) fn open_inference(&self, rows: impl IntoIterator<Item = usize>) -> Vec<u8> {
        let rows: Vec<usize> = rows.into_iter().collect();
        let flat: Vec<&Value> = rows
            .iter()
            .flat_map(|row| self.rows[*row].as_array().expect("numbers"))
            .collect();
        json!({
            "id": "r-1",
            "inputs": [{ "name": "x", "shape": [rows.len(), 784], "datatype": "FP32", "data": flat }],
            "outputs": [{ "name": "probabilities" }, { "name": "label" }],
        })
        .to_string()
        .into_bytes()
    }

    /// The labels of the given rows as the handler answers them.
    pub(crate) fn answer(&self, rows: impl IntoIterator<Item = usize>) -> Value {
        rows.into_iter().map(|row| self.labels[row]).collect()
    }
}
