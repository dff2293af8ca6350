//! Layers of whole networks.

use super::*;

#[test]
fn attention_within_each_row_is_apart() {
    let mut lines = vec![
        "s = Shape(x)",
        "n = Gather(s, zero)",
        "t = Gather(s, one)",
        "n1 = Unsqueeze(n, ax0)",
        "t1 = Unsqueeze(t, ax0)",
        "split = Concat(n1, t1, heads) axis=0",
        "q0 = MatMul(x, w8)",
        "q1 = Reshape(q0, split)",
        "q = Transpose(q1) perm=0,2,1,3",
        "k0 = MatMul(x, w8)",
        "k1 = Reshape(k0, split)",
        "k = Transpose(k1) perm=0,2,3,1",
        "a = MatMul(q, k)",
        "p = Softmax(a) axis=-1",
        "v = MatMul(p, q)",
        "v1 = Transpose(v) perm=0,2,1,3",
        "joined = Concat(n1, t1, eight) axis=0",
        "v2 = Reshape(v1, joined)",
        "l = LayerNormalization(v2, g8, g8)",
    ];
    lines.push("y = ReduceMean(l) axes=1 keepdims=0");
    assert_eq!(of(&[-1, -1, 8], &lines), "apart");
    lines.pop();
    lines.push("y = ReduceMean(l) axes=0 keepdims=1");
    assert_eq!(of(&[-1, -1, 8], &lines), "mixed by ReduceMean");
}

#[test]
fn a_recurrence_goes_along_its_first_axis() {
    let turned = [
        "t = Transpose(x) perm=1,0,2",
        "a, h = LSTM(t, lstm_w, lstm_r) hidden_size=5",
        "y = Squeeze(h, ax0)",
    ];
    assert_eq!(of(&[-1, 6, 3], &turned), "apart");
    let as_is = [
        "a, h = LSTM(x, lstm_w, lstm_r) hidden_size=5",
        "y = Squeeze(h, ax0)",
    ];
    assert_eq!(of(&[-1, 6, 3], &as_is), "mixed by LSTM");
}

#[test]
fn pictures_are_apart_and_their_flat_size_is_left_to_the_runtime() {
    let lines = [
        "c = Conv(x, kernel)",
        "p = MaxPool(c)",
        "s = Shape(p)",
        "n = Gather(s, ax0)",
        "t = Concat(n, minus) axis=0",
        "f = Reshape(p, t)",
        "y = MatMul(f, w8)",
    ];
    assert_eq!(of(&[-1, 1, 8, 8], &lines), "apart");
    // The places that this output names are counted from the first row on.
    assert_eq!(
        of(&[-1, 1, 8, 8], &["v, y = MaxPool(x)"]),
        "mixed by MaxPool"
    );
}
