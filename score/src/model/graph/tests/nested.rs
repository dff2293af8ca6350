//! Loops, scans, branches and functions.

use super::*;

#[test]
fn a_scan_over_rows_keeps_them_apart_unless_it_carries_something_on() {
    let scan = |body: &[&str]| {
        let body = graph(&["state", "row"], nodes(body), &["next", "out"]);
        let scan = node("f, y = Scan(b, x) num_scan_inputs=1");
        verdict(Case {
            nodes: vec![with_graph(scan, "body", body)],
            ..Case::default()
        })
    };
    assert_eq!(
        scan(&[
            "next = Identity(state)",
            "d = Sub(row, state)",
            "out = ReduceSum(d)"
        ]),
        "apart"
    );
    assert_eq!(
        scan(&["next = Add(state, row)", "out = Identity(next)"]),
        "mixed by Scan"
    );
}

#[test]
fn a_loop_that_stops_by_its_rows_mixes_them() {
    let looped = |condition: &str| {
        let body = graph(
            &["i", "c", "v"],
            nodes(&[condition, "next = Mul(v, b)"]),
            &["goes_on", "next"],
        );
        verdict(Case {
            nodes: vec![with_graph(node("y = Loop(one, one, x)"), "body", body)],
            ..Case::default()
        })
    };
    assert_eq!(looped("goes_on = Identity(c)"), "apart");
    assert_eq!(looped("goes_on = ReduceMax(v)"), "mixed by ReduceMax");
}

#[test]
fn functions_of_the_model_are_looked_into() {
    let function = |line: &str| {
        verdict(Case {
            nodes: nodes(&["y = my.Own(x)"]),
            functions: vec![Function {
                name: "Own".into(),
                domain: "my".into(),
                inputs: vec!["a".into()],
                outputs: vec!["o".into()],
                nodes: nodes(&[line]),
                opsets: vec![Opset {
                    domain: Bytes::new(),
                    version: 17,
                }],
                ..Function::default()
            }],
            ..Case::default()
        })
    };
    assert_eq!(function("o = Relu(a)"), "apart");
    assert_eq!(function("o = CumSum(a, a)"), "unclear by CumSum scale ?");
    assert_eq!(function("o = ReduceMax(a)"), "mixed by ReduceMax");
    // It calls itself.
    assert!(function("o = my.Own(a)").starts_with("unclear by"));
}

#[test]
fn a_loop_that_hands_values_on_for_many_rounds_is_followed_to_its_end() {
    // The last of seven values takes over, round by round, a mixture that was made in the first.
    let names = ["a", "b1", "c1", "d1", "e1", "f1", "g1"];
    let mut lines = vec![
        "goes_on = Identity(c)".to_owned(),
        "a2 = ReduceMax(a)".to_owned(),
    ];
    lines.extend(
        names
            .windows(2)
            .map(|pair| format!("{}2 = Identity({})", pair[1], pair[0])),
    );
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let inputs: Vec<&str> = ["i", "c"].into_iter().chain(names).collect();
    let outputs: Vec<String> = names.iter().map(|name| format!("{name}2")).collect();
    let outputs: Vec<&str> = ["goes_on"]
        .into_iter()
        .chain(outputs.iter().map(String::as_str))
        .collect();
    let body = graph(&inputs, nodes(&lines), &outputs);
    let looped = node("a9, b9, c9, d9, e9, f9, y = Loop(one, one, x, x, x, x, x, x, x)");
    let found = verdict(Case {
        nodes: vec![with_graph(looped, "body", body)],
        ..Case::default()
    });
    assert_eq!(found, "mixed by ReduceMax");
}

#[test]
fn a_function_hands_its_attributes_on_to_its_branches() {
    let branch = |line: &str| graph(&[], nodes(&[line]), &["o"]);
    let referring = |line: &str| {
        let mut softmax = node(line);
        softmax.attributes.push(Attribute {
            name: "axis".into(),
            reference: "along".into(),
            ..Attribute::default()
        });
        let mut graph = branch("o = Relu(a)");
        graph.nodes = vec![softmax];
        graph
    };
    let choice = with_graph(
        node("o = If(flag)"),
        "then_branch",
        referring("o = Softmax(a)"),
    );
    let choice = with_graph(choice, "else_branch", referring("o = Softmax(a)"));
    let found = |axis: &str| {
        verdict(Case {
            nodes: nodes(&[&format!("y = my.Own(x, one) along={axis}")]),
            functions: vec![Function {
                name: "Own".into(),
                domain: "my".into(),
                inputs: vec!["a".into(), "flag".into()],
                outputs: vec!["o".into()],
                nodes: vec![choice.clone()],
                opsets: vec![Opset {
                    domain: Bytes::new(),
                    version: 17,
                }],
                ..Function::default()
            }],
            ..Case::default()
        })
    };
    assert_eq!((&*found("1"), &*found("0")), ("apart", "mixed by Softmax"));
}

#[test]
fn loops_within_loops_come_to_an_end() {
    let mut inner = graph(
        &["i", "c", "v"],
        nodes(&["g = Identity(c)", "w = Relu(v)"]),
        &["g", "w"],
    );
    for _ in 0..12 {
        inner.initializers = (0..3000).map(|n| scalar(&format!("n{n}"), &[n])).collect();
        let mut around = graph(&["i", "c", "v"], vec![], &["g", "w"]);
        around.nodes = vec![
            node("g = Identity(c)"),
            with_graph(node("w = Loop(one, c, v)"), "body", inner),
        ];
        inner = around;
    }
    let start = std::time::Instant::now();
    let found = verdict(Case {
        nodes: vec![with_graph(node("y = Loop(one, one, x)"), "body", inner)],
        ..Case::default()
    });
    assert!(found == "apart" || found.starts_with("unclear"), "{found}");
    assert!(
        start.elapsed() < std::time::Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}
