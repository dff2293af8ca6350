use super::super::folder::{ModelFolder, ModelPlace};
use std::fs;

use super::*;
use crate::tensor::ElementType;

fn read(text: &str) -> Preprocessor {
    Preprocessor::of_keys(&serde_json::from_str(text).unwrap()).unwrap()
}

fn pixel_values(ty: ElementType) -> TensorSpec {
    TensorSpec {
        name: "pixel_values".into(),
        element_type: ty,
        shape: Some(vec![Dim::Dynamic(None); 4]),
    }
}

fn completed(text: &str, mut options: InputOptions) -> (InputOptions, Vec<String>) {
    let remarks = read(text).complete(&pixel_values(ElementType::Float32), &mut options);
    (options, remarks)
}

#[test]
fn sizes_come_in_all_the_forms_of_the_years() {
    let to = |width, height| Some(Resize::To([width, height]));
    let by = |side| Some(Resize::ShorterSide(side));
    for (text, size, resize) in [
        (r#""size": {"height": 8, "width": 9}"#, Some([9, 8]), None),
        (
            r#""size": {"height": 8, "width": 9, "shortest_edge": null}"#,
            Some([9, 8]),
            None,
        ),
        (r#""size": [8, 9]"#, Some([9, 8]), None),
        (
            r#""feature_extractor_type": "ViTFeatureExtractor", "size": 8"#,
            Some([8, 8]),
            None,
        ),
        (
            r#""feature_extractor_type": "CLIPFeatureExtractor", "size": 8"#,
            None,
            by(8),
        ),
        (
            r#""size": {"shortest_edge": 9}, "do_center_crop": true, "crop_size": 8"#,
            Some([8, 8]),
            by(9),
        ),
        (
            r#""size": 9, "do_center_crop": true, "crop_size": {"height": 7, "width": 8}"#,
            Some([8, 7]),
            to(9, 9),
        ),
        (
            r#""size": {"shortest_edge": 9}, "do_center_crop": false, "crop_size": 8"#,
            None,
            by(9),
        ),
        // As microsoft/resnet-50 has it.
        (
            r#""feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875"#,
            Some([224, 224]),
            by(256),
        ),
        (
            r#""image_processor_type": "ConvNextImageProcessorFast", "size": {"shortest_edge": 384}"#,
            Some([384, 384]),
            to(384, 384),
        ),
        (r#""do_resize": false, "size": 8"#, None, None),
        (r#""resample": 3"#, None, None),
    ] {
        let found = read(&format!(r#"{{"do_rescale": true, {text}}}"#));
        assert_eq!(
            (found.options.size, found.options.resize),
            (size, resize),
            "{text}"
        );
        assert_eq!(found.unfit, [], "{text}");
    }
}

#[test]
fn values_are_scaled_and_normalised_as_the_flags_say() {
    let options = |text: &str| read(&format!(r#"{{"do_resize": true, {text}}}"#)).options;
    let all = options(r#""image_mean": [0.5, 0.4, 0.3], "image_std": 0.5, "resample": 1"#);
    assert_eq!(all.scale, Some(1.0 / 255.0));
    assert_eq!(
        (&all.mean[..], &all.std[..]),
        (&[0.5, 0.4, 0.3][..], &[0.5][..])
    );
    assert_eq!(all.resample, Some(Resample::Lanczos));
    let none = options(r#""do_rescale": false, "do_normalize": false, "image_mean": [1]"#);
    assert_eq!((none.scale, none.mean.len()), (Some(1.0), 0));
    let factor = options(r#""rescale_factor": 0.5"#);
    assert_eq!(factor.scale, Some(0.5));
    let mut whole = InputOptions::default();
    let text = r#"{"image_mean": 0.5, "image_std": 0.5, "resample": 3}"#;
    read(text).complete(&pixel_values(ElementType::Uint8), &mut whole);
    assert_eq!((whole.scale, whole.mean.len()), (None, 0));
    assert_eq!(whole.resample, Some(Resample::Bicubic));
}

#[test]
fn what_cannot_be_done_names_its_key_unless_model_toml_says_it_otherwise() {
    for (text, key) in [
        (r#""size": {"longest_edge": 9}"#, "size"),
        (r#""size": 0"#, "size"),
        (r#""size": 99999"#, "size"),
        (r#""size": "large""#, "size"),
        (r#""do_center_crop": true"#, "crop_size"),
        (
            r#""do_resize": false, "do_center_crop": true, "crop_size": 8"#,
            "do_center_crop",
        ),
        (r#""crop_pct": 0.9, "size": 8"#, "crop_pct"),
        (r#""do_normalize": true"#, "image_mean"),
        (
            r#""image_mean": [0.5, 0.5], "image_std": [1, 1]"#,
            "image_mean",
        ),
        (r#""image_mean": 0.5, "image_std": 0"#, "image_std"),
        (r#""image_mean": 0.5, "image_std": ["a"]"#, "image_std"),
        (r#""resample": 9"#, "resample"),
        (r#""resample": "bicubic""#, "resample"),
        (r#""rescale_factor": "1/255""#, "rescale_factor"),
        (r#""do_resize": "yes""#, "do_resize"),
        (r#""do_flip_channel_order": true"#, "do_flip_channel_order"),
        (r#""rescale_offset": true"#, "rescale_offset"),
        (
            r#""image_processor_type": "LevitImageProcessor""#,
            "image_processor_type",
        ),
    ] {
        let text = format!(r#"{{"do_rescale": true, {text}}}"#);
        let (options, remarks) = completed(&text, InputOptions::default());
        let reason = options.unfit.unwrap();
        assert!(reason.starts_with(&format!("{FILE}: {key} is")), "{reason}");
        assert!(remarks[0].contains(&reason), "{remarks:?}");
    }
    let said = InputOptions {
        size: Some([8, 8]),
        resample: Some(Resample::Box),
        mean: vec![0.0],
        std: vec![2.0],
        ..InputOptions::default()
    };
    let text = r#"{"size": {"longest_edge": 9}, "resample": 9, "do_normalize": true, "do_resize": true,
                   "image_std": 3, "num_frames": 3, "do_flip_channel_order": false}"#;
    let (options, remarks) = completed(text, said.clone());
    assert_eq!(options.unfit, None);
    assert_eq!((options.size, options.resample), (said.size, said.resample));
    assert_eq!((options.mean, options.std), (said.mean, said.std));
    assert_eq!(
        remarks,
        [format!("{FILE}: num_frames is not known and is ignored")]
    );
}

#[test]
fn files_about_sound_say_nothing_and_broken_ones_are_told() {
    let sound = r#"{"do_normalize": true, "feature_size": 1, "sampling_rate": 16000}"#;
    assert_eq!(
        Preprocessor::of_keys(&serde_json::from_str(sound).unwrap()),
        None
    );
    let folder = std::env::temp_dir().join(format!("score-pictures-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    assert_eq!(Preprocessor::read(&folder), None);
    for broken in ["{", "[]", "\u{feff}{}"] {
        fs::write(folder.join(FILE), broken).unwrap();
        let found = Preprocessor::read(&folder).unwrap();
        let mut options = InputOptions::default();
        found.complete(&pixel_values(ElementType::Float32), &mut options);
        assert!(options.unfit.unwrap().starts_with(FILE), "{broken}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_file_is_a_part_of_the_models_digest() {
    let root = std::env::temp_dir().join(format!("score-digest-{}", std::process::id()));
    let folder = root.join("m");
    fs::create_dir_all(&folder).unwrap();
    // A model that is an empty graph.
    fs::write(folder.join("model.onnx"), b"\x3a\x00").unwrap();
    let place = ModelPlace::of_folder(&folder).unwrap();
    let digest = || ModelFolder::read(&place).unwrap().digest().unwrap();
    let without = digest();
    fs::write(folder.join(FILE), r#"{"do_resize": false}"#).unwrap();
    let with = digest();
    fs::write(folder.join(FILE), r#"{"do_resize": true}"#).unwrap();
    assert!(without != with && with != digest());
    fs::remove_dir_all(&root).unwrap();
}

#[test]
fn it_is_for_pixel_values_or_the_only_input_of_three_or_four_axes() {
    let spec = |name: &str, axes| TensorSpec {
        name: name.into(),
        element_type: ElementType::Float32,
        shape: Some(vec![Dim::Dynamic(None); axes]),
    };
    for (inputs, expected) in [
        (vec![spec("x", 4)], Some("x")),
        (vec![spec("x", 3)], Some("x")),
        (vec![spec("x", 2)], None),
        (
            vec![spec("ids", 2), spec("pixel_values", 4)],
            Some("pixel_values"),
        ),
        (vec![spec("a", 4), spec("b", 4)], None),
    ] {
        let signature = ModelSignature::of_tensors(inputs, Vec::new());
        let found = Preprocessor::input(&signature).map(|spec| spec.name.as_str());
        assert_eq!(found, expected);
    }
}
