//! Writes the token ids of texts: `token_ids TOKENIZER.json MAX_TOKENS right|left` reads one JSON string a line from standard
//! input, cuts longer texts at that end, and writes one JSON array a line. The conformance tests compare them with Python's.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::{BufWriter, Write};

use score::{TextOptions, Truncate};
use text::{Stored, StoredAs, Tokenizer};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, max_tokens, end] = &arguments[..] else {
        return Err("usage: token_ids TOKENIZER.json MAX_TOKENS right|left < TEXTS".into());
    };
    let truncate = match end.as_str() {
        "left" => Truncate::Left,
        _ => Truncate::Right,
    };
    let max_tokens: usize = max_tokens.parse()?;
    let settings = Stored {
        pooling: None,
        pooling_is_set: false,
        include_prompt: true,
        prompt: String::new(),
        max_tokens,
        max_chars: max_tokens * 64,
        truncate: Truncate::Right,
        lower_case: false,
        store: StoredAs::Float32,
        head: None,
    };
    let tokenizer = Tokenizer::new(&std::fs::read(file)?, &settings)?;
    let options = TextOptions {
        prompt: None,
        truncate: Some(truncate),
        max_tokens: None,
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lines() {
        let text: String = serde_json::from_str(&line?)?;
        let ids = tokenizer.tokenize(&text, &options)?.ids;
        writeln!(out, "{}", serde_json::to_string(&ids)?)?;
    }
    out.flush()?;
    Ok(())
}
