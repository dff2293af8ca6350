//! What is left to the probe.

use super::*;

/// Each of these was once called independent, and is not.
#[test]
fn what_looks_like_rows_and_is_none_proves_nothing() {
    for lines in [
        // Six features in fours: half of a row meets half of the next.
        &[
            "c = Slice(x, ax0, six, ax1)",
            "r = Reshape(c, flat4)",
            "s = Softmax(r)",
            "y = Reshape(s, flat6)",
        ][..],
        // Twice as many places as rows: place i is that of row i/2.
        &[
            "h = Reshape(x, flat4)",
            "i = ArgMax(x) axis=1",
            "y = GatherElements(h, i) axis=1",
        ],
        &[
            "h = Reshape(x, flat4)",
            "s = Shape(x)",
            "n = Gather(s, ax0)",
            "y = Slice(h, ax0, n, ax0)",
        ],
        // 256 is 0 as a byte.
        &[
            "c = Cast(many) to=2",
            "b2 = Cast(c) to=9",
            "y = Where(b2, x, m)",
            "m = ReduceMax(x)",
        ],
    ] {
        let found = of(&[-1, 8], lines);
        assert!(found != "apart", "{lines:?}: {found}");
    }
    let negative = [
        "s = Shape(x)",
        "n = Gather(s, zero)",
        "m = Mul(n, minus)",
        "e = Equal(m, third)",
        "f = Cast(e) to=1",
        "y = Mul(x, f)",
    ];
    assert_ne!(of(&[-1, 8], &negative), "apart");
    let scan = |attributes: &str| {
        let body = graph(&["row"], nodes(&["out = Relu(row)"]), &["out"]);
        let scan = node(&format!("y = Scan(x) num_scan_inputs=1 {attributes}"));
        verdict(Case {
            nodes: vec![with_graph(scan, "body", body)],
            ..Case::default()
        })
    };
    assert_eq!(scan(""), "apart");
    assert_ne!(scan("scan_output_directions=1"), "apart");
    assert_ne!(scan("scan_input_directions=1"), "apart");
}

#[test]
fn a_scalar_has_no_rows() {
    assert_eq!(of(&[], &["y = Add(x, b)"]), "unclear by Add scale ?");
}

#[test]
fn what_cannot_be_read_proves_nothing() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for content in [&b""[..], b"no model", &[0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
        std::fs::write(file.path(), content).unwrap();
        let reading = Reading::in_file(file.path(), &[], false);
        assert_eq!(reading.proof, Proof::Unclear(None, None));
    }
}
