use super::super::options::FeatureFormat;
use super::super::options_file::refuse_unknown_keys;
use super::*;

#[test]
fn names_keep_to_what_survives_a_url_and_leave_the_reserved_paths_alone() {
    assert_eq!(check_name("iris-2.onnx_v1"), Ok(()));
    for bad in ["", "a b", "a/b", "ä", "v2", "metrics", ".", "..", ".a"] {
        assert!(check_name(bad).is_err(), "{bad}");
    }
}

#[test]
fn options_say_where_the_mistake_is() {
    let options: ModelOptions =
        toml::from_str("outputs = [\"label\"]\nrows = \"together\"").unwrap();
    assert_eq!(options.rows(), Some(Rows::Together));
    assert!(toml::from_str::<ModelOptions>("rows = \"apart\"").is_err());
    for ttl in ["soon", "0s", "11years", "580000000000years"] {
        let options = toml::from_str::<ModelOptions>(&format!("ttl = {ttl:?}"));
        assert!(options.is_err(), "{ttl}");
    }
    let picture = |text: &str| toml::from_str::<ModelOptions>(&format!("[inputs.x]\n{text}"));
    assert_eq!(picture("mean = 0.5").unwrap().inputs["x"].mean, [0.5]);
    assert_eq!(
        picture("std = [1.0, 2.0, 3.0]").unwrap().inputs["x"]
            .std
            .len(),
        3
    );
    assert!(picture("std = [1.0, 2.0]").is_err());
    for wrong in ["resample = \"cubic\"", "background = 256", "resize = [1]"] {
        assert!(picture(wrong).is_err(), "{wrong}");
    }
    for senseless in [
        "std = 0.0",
        "size = [0, 1]",
        "size = [1, 9999]",
        "resize = 0",
        "resize = [1, 0]",
        "channels = 2",
    ] {
        assert!(
            refuse_senseless(&picture(senseless).unwrap()).is_err(),
            "{senseless}"
        );
    }
    let refused = |text: &str| refuse_unknown_keys(&toml::from_str(text).unwrap()).unwrap_err();
    assert_eq!(
        refused("output = [\"label\"]"),
        r#"output: expected tables such as [output.probabilities]; to choose outputs, say "outputs""#
    );
    assert_eq!(
        refused("[outputs.logits]\nactivation = \"softmax\""),
        r#"outputs: expected a list of names, such as ["label"]; the options of one output are in [output.logits]"#
    );
    assert_eq!(
        refused("output_ = [\"label\"]"),
        r#"unknown key "output_"; did you mean "output"?"#
    );
    assert_eq!(
        refused("[output.y]\ntopk = 3"),
        r#"output.y: unknown key "topk"; did you mean "top_k"?"#
    );
    assert_eq!(
        refused("[inputs.x]\nsizes = [1, 1]"),
        r#"inputs.x: unknown key "sizes"; did you mean "size"?"#
    );
    assert_eq!(
        refused("[features]\nprefixes = \"f:\""),
        r#"features: unknown key "prefixes"; did you mean "prefix"?"#
    );
}

#[test]
fn features_have_a_prefix_of_their_own() {
    let read = |text: &str| toml::from_str::<ModelOptions>(&format!("[features]\n{text}"));
    let features = read("prefix = \"f:\"").unwrap().features.unwrap();
    assert_eq!(
        (&*features.prefix, features.format),
        ("f:", FeatureFormat::Json)
    );
    for wrong in [
        "",
        "format = \"raw\"",
        "prefix = \"f:\"\nformat = \"csv\"",
        "prefix = 1",
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
    let score = Namespace::default();
    for prefix in ["", "s", "score", "score:", "score:1:", "a\0b"] {
        assert!(refuse_prefix(prefix, &score).is_err(), "{prefix:?}");
    }
    for prefix in ["features:", "scores:", "Score:", "{f}:", "*"] {
        assert_eq!(refuse_prefix(prefix, &score), Ok(()), "{prefix:?}");
    }
}

#[test]
fn finds_plain_folders_versions_and_a_bare_file() {
    let root = std::env::temp_dir().join(format!("score-models-{}", std::process::id()));
    let write = |file: &str| {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"\x3a\x00").unwrap();
    };
    for file in [
        "a/model.onnx",
        "b/2/any.onnx",
        "b/10/m.onnx",
        "b/11/notes.txt",
        ".c/model.onnx",
    ] {
        write(file);
    }
    let places = find_models(&root).unwrap();
    let found: Vec<ModelFolder> = places
        .iter()
        .map(|place| ModelFolder::read(place).unwrap())
        .collect();
    let names: Vec<_> = found
        .iter()
        .map(|m| (m.name.as_str(), m.version.as_str()))
        .collect();
    assert_eq!(names, [("a", "1"), ("b", "10")]);

    let mounted = find_models(&root.join("b/10")).unwrap();
    let model = ModelFolder::read(&mounted[0]).unwrap();
    assert_eq!((model.name.as_str(), model.version.as_str()), ("b", "10"));

    let origins = |folder: &Path| {
        let read = ModelFolder::read(&ModelPlace::of_folder(folder).unwrap());
        read.map(|model| (model.options.origin, model.options.labels))
            .map_err(|error| error.to_string())
    };
    let toml = |file: &str, label: &str| {
        fs::write(root.join(file), format!("labels = [{label:?}]")).unwrap();
    };
    let said = |words: &str, labels: &[&str]| {
        Ok((
            words.to_owned(),
            labels.iter().map(|l| (*l).to_owned()).collect(),
        ))
    };
    assert_eq!(origins(&root.join("b")), said("none", &[]));
    toml("b/model.toml", "shared");
    for folder in ["b", "b/10", "b/2"] {
        let shared = said("model.toml beside the versions", &["shared"]);
        assert_eq!(origins(&root.join(folder)), shared, "{folder}");
    }
    toml("b/10/model.toml", "own");
    let own = said(
        "10/model.toml, instead of the one beside the versions",
        &["own"],
    );
    assert_eq!(origins(&root.join("b")), own);
    toml("a/model.toml", "plain");
    assert_eq!(origins(&root.join("a")), said("model.toml", &["plain"]));
    for (name, expected) in [
        ("../lib.so", "found \"../lib.so\""),
        ("/lib.so", "expected the name of a library"),
        ("./lib.so", "expected the name of a library"),
        ("", "expected the name of a library"),
        ("lib.so", "there is no library \"lib.so\" beside model.onnx"),
    ] {
        fs::write(root.join("a/model.toml"), format!("custom_ops = {name:?}")).unwrap();
        let refusal = origins(&root.join("a")).unwrap_err();
        assert!(refusal.contains(expected), "{name}: {refusal}");
    }
    let digest = |name: &str| {
        fs::write(root.join("a/model.toml"), format!("custom_ops = {name:?}")).unwrap();
        let place = ModelPlace::of_folder(&root.join("a")).unwrap();
        ModelFolder::read(&place).unwrap().digest().unwrap()
    };
    fs::write(root.join("a/one.so"), "1").unwrap();
    fs::write(root.join("a/two.so"), "2").unwrap();
    assert_ne!(
        digest("one.so"),
        digest("two.so"),
        "another library computes"
    );
    fs::write(root.join("a/model.toml"), b"\xff\xfeo\0").unwrap();
    assert!(
        origins(&root.join("a"))
            .unwrap_err()
            .contains("expected UTF-8 text")
    );
    fs::remove_file(root.join("a/model.toml")).unwrap();

    write("a/second.onnx");
    write("d/one.onnx");
    write("d/two.onnx");
    write("e/notes.txt");
    for place in find_models(&root).unwrap() {
        let read = ModelFolder::read(&place);
        assert_eq!(
            read.is_ok(),
            ["a", "b"].contains(&&*place.name),
            "{}",
            place.name
        );
    }
    fs::remove_dir_all(&root).unwrap();
}
