//! Every way into this crate for the bytes of files: what the fuzz targets and the bounded run of `cargo test` call. None of
//! them may panic on any bytes, but for the tokenizers' own library, whose panics end one load or one request.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use score::{Task, TextOptions, Tokenized, Truncate};

use crate::config::{
    HeadConfig, Module, PromptConfig, SentenceConfig, TokenizerConfig, TransformerConfig,
    read_pooling, read_sparse,
};
use crate::dense::Dense;
use crate::modules::Modules;
use crate::settings::Stored;
use crate::{Head, SparsePooling, StoredAs, Strategy, Tokenizer};

/// `tokenizer.json`, and a few texts, as each task takes them.
pub fn tokenizer(data: &[u8]) {
    let head = |task| Head {
        task,
        pairs: task == Task::Rerank,
        strategy: Strategy::default(),
        pooling: SparsePooling::default(),
        unknown: None,
    };
    for head in [None, Some(head(Task::Tag)), Some(head(Task::Rerank))] {
        tokenize(data, head);
    }
}

fn tokenize(data: &[u8], head: Option<Head>) {
    let settings = Stored {
        pooling: None,
        pooling_is_set: false,
        include_prompt: false,
        prompt: "query: ".to_owned(),
        max_tokens: 8,
        max_chars: 64,
        truncate: Truncate::Right,
        lower_case: false,
        store: StoredAs::Float32,
        head,
    };
    let read = catch_unwind(|| Tokenizer::new(data, &settings));
    let Ok(Ok(tokenizer)) = read else {
        return;
    };
    tokenizer.highest_id();
    tokenizer.id_of("[PAD]");
    for text in [
        "",
        "a",
        "The quick brown fox, 1999!",
        "e\u{301}\u{1f600}\0",
        &"ab ".repeat(99),
    ] {
        for truncate in [None, Some(Truncate::Left), Some(Truncate::Refuse)] {
            let options = TextOptions {
                truncate,
                ..TextOptions::default()
            };
            let read = catch_unwind(AssertUnwindSafe(|| tokenizer.tokenize(text, &options)));
            let pair = catch_unwind(AssertUnwindSafe(|| {
                tokenizer.tokenize_pair(text, "a b", &options)
            }));
            let fits = |tokenized: &Tokenized| tokenized.ids.len() <= settings.max_tokens;
            if let Ok(Ok(tokenized)) = read {
                assert!(fits(&tokenized));
            }
            if let Ok(Ok(tokenized)) = pair
                && settings.task() == Task::Rerank
            {
                assert!(fits(&tokenized));
            }
        }
    }
}

/// Each of the other files beside a text model, in `folder`.
pub fn configs(folder: &Path, data: &[u8]) {
    const NAMES: [&str; 7] = [
        "config.json",
        "tokenizer_config.json",
        "modules.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "1_Pooling/config.json",
        "model.safetensors",
    ];
    for name in NAMES {
        let file = folder.join(name);
        let made = file.parent().map_or(Ok(()), fs::create_dir_all);
        if made.and_then(|()| fs::write(file, data)).is_err() {
            return;
        }
    }
    // What is wrong with a file is an error, and errors are as good as configs here.
    drop(TransformerConfig::read(folder));
    if let Ok(head) = HeadConfig::read(folder) {
        drop(head.labels());
        head.crosses(&PromptConfig::default());
    }
    drop(read_sparse(&folder.join("1_Pooling")));
    drop(TokenizerConfig::read(folder));
    drop(Module::read_all(folder));
    drop(SentenceConfig::read(folder));
    drop(PromptConfig::read(folder));
    drop(read_pooling(&folder.join("1_Pooling")));
    if let Ok(modules) = Modules::read(folder) {
        assert!(modules.dense.iter().all(|dense| dense.starts_with(folder)));
    }
    drop(Dense::read(folder, &mut Vec::new()));
    let config = r#"{"in_features": 2, "out_features": 2, "bias": true, "activation_function": "torch.nn.Tanh"}"#;
    if fs::write(folder.join("config.json"), config).is_ok() {
        drop(Dense::read(folder, &mut Vec::new()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::run;

    #[test]
    fn no_tokenizer_is_more_than_the_reader_expects() {
        run("tokenizer", tokenizer);
    }

    #[test]
    fn no_config_is_more_than_the_readers_expect() {
        let folder = tempfile::tempdir().unwrap();
        run("configs", |data| configs(folder.path(), data));
    }
}
