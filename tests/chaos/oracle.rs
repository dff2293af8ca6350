//! Rows for the model `affine` (y = 2x + 1) and what it answers, worked out here.

use std::fmt::Write as _;

use crate::support::app_root::{AppRoot, repository};

/// An app with that model alone.
pub(crate) fn app() -> AppRoot {
    let app = AppRoot::new();
    let model = repository().join("tests/data/models/affine.onnx");
    app.add_model("affine", model, None);
    app
}

/// The request for the given rows. Row `n` is `[n, -n, n/2]`: exact in float32 up to 2^23.
pub(crate) fn body(rows: &[u32]) -> Vec<u8> {
    let row = |n: f32| [n, -n, n / 2.0];
    format!(r#"{{"data":{}}}"#, matrix(rows, row)).into_bytes()
}

/// The answer to it, to the letter.
pub(crate) fn answer(rows: &[u32]) -> Vec<u8> {
    matrix(rows, |n| [2.0 * n + 1.0, -2.0 * n + 1.0, n + 1.0]).into_bytes()
}

fn matrix(rows: &[u32], row: impl Fn(f32) -> [f32; 3]) -> String {
    let mut text = String::with_capacity(rows.len() * 24);
    for n in rows {
        let [a, b, c] = row(*n as f32);
        let before = if text.is_empty() { '[' } else { ',' };
        // Not -0.0, which JSON would keep.
        let _ = write!(text, "{before}[{:?},{:?},{:?}]", a + 0.0, b + 0.0, c + 0.0);
    }
    text + "]"
}
