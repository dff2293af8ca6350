//! What clients are told of a model that takes pictures.

use super::*;

#[test]
fn a_picture_is_announced_where_files_names_or_four_axes_say_so() {
    let announced = |name: &str, element_type, shape: &[i64], options: InputOptions| {
        let inputs = vec![spec(name, element_type, shape)];
        let signature = score::ModelSignature::of_tensors(inputs, Vec::new());
        let mut metadata = crate::samples::metadata(signature);
        metadata.options.inputs.insert(name.into(), options);
        picture_document(&metadata).is_some()
    };
    let float = |name: &str, shape: &[i64]| {
        announced(name, ElementType::Float32, shape, InputOptions::default())
    };
    for (name, shape) in [
        ("x", &[-1, 3, 224, 224][..]),
        ("x", &[-1, 32, 32, 3]),
        ("x", &[1, 1, 8, 8]),
        ("pixel_values", &[-1, 9, 5]),
        ("input_image", &[9, 5]),
        ("Image:0", &[-1, 28, 28]),
    ] {
        assert!(float(name, shape), "{name} {shape:?}");
    }
    for (name, shape) in [
        ("signal", &[-1, 1, 128][..]),
        ("seq", &[-1, 24, 7]),
        ("x", &[3, 4]),
        ("x", &[-1, 28, 28]),
        ("x", &[-1, 3, 224, 7]),
        ("x", &[-1, 3, -1, -1]),
        ("image_features", &[-1, 50, 768]),
        ("image", &[-1, 64]),
    ] {
        assert!(!float(name, shape), "{name} {shape:?}");
    }
    assert!(!announced(
        "board",
        ElementType::Int64,
        &[-1, 3, 8, 8],
        InputOptions::default()
    ));
    let said = |options| announced("x", ElementType::Float32, &[-1, 64], options);
    assert!(said(InputOptions {
        size: Some([8, 8]),
        ..InputOptions::default()
    }));
    assert!(said(InputOptions {
        mean: vec![0.5],
        ..InputOptions::default()
    }));
    assert!(!said(InputOptions {
        columns: vec!["a".into(); 64],
        ..InputOptions::default()
    }));
}

#[test]
fn what_becomes_of_pictures_is_told_in_words() {
    let words = |shape: &[i64], options: InputOptions| {
        let signature = score::ModelSignature::of_tensors(
            vec![spec("x", ElementType::Float32, shape)],
            Vec::new(),
        );
        let mut metadata = crate::samples::metadata(signature);
        metadata.options.inputs.insert("x".into(), options);
        picture_in_words(&metadata)
    };
    let none = InputOptions::default();
    let sized = InputOptions {
        size: Some([2, 2]),
        ..none.clone()
    };
    let cut = InputOptions {
        resize: Some(Resize::ShorterSide(9)),
        ..sized.clone()
    };
    let found = words(&[-1, 3, 224, 224], none.clone()).unwrap();
    assert_eq!(found, "scaled to 224 x 224 (bilinear); 3 channels, chw");
    let found = words(&[-1, 4], cut).unwrap();
    let expected = "shorter side scaled to 9 (bilinear), the middle 2 x 2 taken; 1 channel, hw";
    assert_eq!(found, expected);
    assert_eq!(words(&[-1, 4], none.clone()), None);
    assert_eq!(words(&[-1, 5, 2, 2], none), None);
    let refused = words(&[-1, 5], sized).unwrap();
    assert!(refused.starts_with("refused: input"), "{refused}");
}
