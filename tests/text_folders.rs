//! Folders of text models: what is taken of their files, and what is refused.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::app_root::repository;
use crate::texts::{check, copy, tiny};

#[test]
fn what_is_unclear_is_named_with_its_setting() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let cases: [(&str, Option<&str>, &str); 17] = [
        (
            "tokenizer.json",
            None,
            "tokenizer.json: there is no such file",
        ),
        (
            "tokenizer.json",
            Some("{}"),
            "tokenizer.json: expected a tokenizer of kind WordPiece",
        ),
        (
            "tokenizer.json",
            Some("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 17082730\n"),
            "tokenizer.json: it is a Git LFS pointer",
        ),
        // Models that were saved by torch.save alone, or are a table of vectors for words.
        (
            "modules.json",
            Some(r#"[{"path":"","type":"sentence_transformers.models.StaticEmbedding"}]"#),
            "module \"StaticEmbedding\" is not known",
        ),
        (
            "modules.json",
            Some(r#"[{"path":"","type":"x.Transformer"},{"path":"9_Pooling","type":"x.Pooling"}]"#),
            "9_Pooling/config.json: there is no such file, and modules.json names its folder",
        ),
        (
            "modules.json",
            Some(
                r#"[{"path":"","type":"x.Transformer"},{"path":"../1_Pooling","type":"x.Pooling"}]"#,
            ),
            "path: expected a folder below this one",
        ),
        ("modules.json", None, "text.pooling is needed"),
        (
            "modules.json",
            Some(r#"[{"path":"","type":"x.Transformer"},{"path":"1","type":"x.LSTM"}]"#),
            "module \"LSTM\" is not known",
        ),
        (
            "1_Pooling/config.json",
            Some(r#"{"pooling_mode":"median"}"#),
            "1_Pooling/config.json: pooling: expected cls",
        ),
        (
            "1_Pooling/config.json",
            Some(r#"{"word_embedding_dimension":9}"#),
            "word_embedding_dimension: 9 is not what the ONNX file gives, 8",
        ),
        (
            "config_sentence_transformers.json",
            Some(r#"{"default_prompt_name":"q"}"#),
            "default_prompt_name: there is no prompt \"q\"",
        ),
        (
            "tokenizer_config.json",
            Some(r#"{"truncation_side":"up"}"#),
            "truncation_side: expected \"right\" or \"left\"",
        ),
        (
            "model.toml",
            Some("[text]\nmax_tokens = 65"),
            "text.max_tokens: 65 is more than the model has positions for",
        ),
        (
            "model.toml",
            Some("[text]\nmax_tokens = 2"),
            "max_tokens: 2 leave no room for a text",
        ),
        (
            "model.toml",
            Some("[text]\ndimensions = 9"),
            "text.dimensions: 9 is more than the 8 of the model",
        ),
        (
            "model.toml",
            Some("rows = \"together\""),
            "rows: texts are always remembered one by one",
        ),
        (
            "model.toml",
            Some("[text]\nfile = \"../a.onnx\""),
            "text.file: expected an ONNX file below",
        ),
    ];
    for (number, (file, content, reason)) in cases.into_iter().enumerate() {
        let folder = root.path().join(format!("m{number}"));
        copy(&tiny(), &folder);
        match content {
            Some(content) => fs::write(folder.join(file), content).unwrap(),
            None => fs::remove_file(folder.join(file)).unwrap(),
        }
        if file == "modules.json" && content.is_none() {
            fs::remove_dir_all(folder.join("1_Pooling")).unwrap();
        }
        let said = check(&folder).expect_err(reason);
        assert!(said.contains(reason), "{file}: {said}");
    }
}

#[test]
fn a_tokenizer_with_more_tokens_than_the_model_is_refused() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = root.path().join("m");
    copy(&tiny(), &folder);
    let file = folder.join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    tokenizer["model"]["vocab"]["zebra"] = json!(500);
    fs::write(&file, tokenizer.to_string()).unwrap();
    let said = check(&folder).unwrap_err();
    assert!(
        said.contains("its ids go up to 500, and the model refuses"),
        "{said}"
    );
}

#[test]
fn folders_as_the_hub_has_them_are_checked_and_served_from_below() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = root.path().join("hub");
    copy(&tiny(), &folder);
    fs::create_dir(folder.join("onnx")).unwrap();
    fs::rename(folder.join("model.onnx"), folder.join("onnx/model.onnx")).unwrap();
    fs::write(folder.join("onnx/model_int8.onnx"), "another variant").unwrap();
    fs::write(
        folder.join("pytorch_model.bin"),
        "weights for another program",
    )
    .unwrap();
    let said = check(&folder).unwrap();
    assert!(said.contains("embedding: 32 tokens at most (WordPiece), cut: right; pooling mean; 8 dimensions, normalized"), "{said}");
    // Without the files of sentence-transformers it is the same with its settings in model.toml.
    for file in [
        "modules.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
    ] {
        fs::remove_file(folder.join(file)).unwrap();
    }
    fs::remove_dir_all(folder.join("1_Pooling")).unwrap();
    fs::write(
        folder.join("model.toml"),
        "[text]\npooling = \"cls\"\nfile = \"onnx/model.onnx\"",
    )
    .unwrap();
    let said = check(&folder).unwrap();
    assert!(
        said.contains("64 tokens at most (WordPiece), cut: right; pooling cls; 8 dimensions"),
        "{said}"
    );
}

/// A folder whose ONNX file pools, with a file of other content.
fn pooled(folder: &Path, file: &str, content: &str) {
    copy(&tiny(), folder);
    let model = repository().join("tests/data/text/pooled.onnx");
    fs::copy(model, folder.join("model.onnx")).unwrap();
    fs::write(folder.join(file), content).unwrap();
}

#[test]
fn pooling_in_the_onnx_file_has_to_agree_with_the_folder() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let config = "1_Pooling/config.json";
    let cases = [
        (
            r#"{"word_embedding_dimension":8,"pooling_mode":"mean"}"#,
            None,
        ),
        (
            r#"{"word_embedding_dimension":384,"pooling_mode":"mean"}"#,
            Some("give vectors of 384 numbers, and the ONNX file gives 8"),
        ),
        (
            r#"{"word_embedding_dimension":8,"pooling_mode":["cls","mean"]}"#,
            Some("give vectors of 16 numbers, and the ONNX file gives 8"),
        ),
        (
            r#"{"word_embedding_dimension":8,"pooling_mode":"cls"}"#,
            Some("the pooling cls of the ONNX file's vectors of tokens gives other vectors"),
        ),
        (
            r#"{"pooling_mode":"mean","include_prompt":false}"#,
            Some("include_prompt: expected true"),
        ),
    ];
    for (number, (content, reason)) in cases.into_iter().enumerate() {
        let folder = root.path().join(format!("m{number}"));
        pooled(&folder, config, content);
        match (check(&folder), reason) {
            (Ok(said), None) => assert!(said.contains("pooling in the ONNX file"), "{said}"),
            (Err(said), Some(reason)) => {
                assert!(said.contains(reason) && said.contains(config), "{said}")
            }
            (found, _) => panic!("{content}: {found:?}"),
        }
    }
    // With a pooling in model.toml it is done here.
    let folder = root.path().join("set");
    pooled(&folder, "model.toml", "[text]\npooling = \"cls\"");
    let said = check(&folder).unwrap();
    assert!(said.contains("pooling cls"), "{said}");
}
