//! What is wrong with a JSON file, and what to do about it.

/// Line and column of a mistake, and what to do about it.
pub(super) fn explained(text: &[u8], error: &serde_json::Error) -> String {
    let line = text
        .split(|byte| *byte == b'\n')
        .nth(error.line().saturating_sub(1));
    let rest = line.and_then(|line| line.get(error.column().saturating_sub(1)..));
    let is_pythons = |word: &&[u8]| rest.is_some_and(|rest| rest.starts_with(word));
    let remedy = if text.starts_with(b"\xef\xbb\xbf") {
        "it begins with a byte order mark: save the file as UTF-8 without one"
    } else if [&b"Infinity"[..], b"-Infinity", b"NaN"]
        .iter()
        .any(is_pythons)
    {
        "Python writes Infinity and NaN, which are not JSON: write a number or null, or remove the member"
    } else if error.is_eof() {
        "the file is cut off: copy it again"
    } else {
        "correct the file, or copy it again from where the model comes from"
    };
    format!("{error}; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::super::TransformerConfig;

    #[test]
    fn a_mistake_in_a_file_has_its_line_and_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        for (text, expected) in [
            ("{\n \"a\": Infinity}", "line 2 column 7; Python writes"),
            ("{\"a\": -Infinity}", "Python writes"),
            ("{\"a\": NaN}", "Python writes"),
            ("\u{feff}{}", "line 1 column 1; it begins with a byte"),
            ("{\"a\": 1", "line 1 column 7; the file is cut off"),
            ("{\"a\": 1,}", "correct the file"),
        ] {
            std::fs::write(folder.path().join("config.json"), text).unwrap();
            let error = TransformerConfig::read(folder.path()).unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains(expected) && error.contains("config.json"),
                "{error}"
            );
        }
    }
}
