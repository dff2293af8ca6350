//! Words that stand for a missing value.

/// The cells that pandas reads from CSV as a missing value.
const MISSING: [&str; 19] = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// Whether a token of JSON stands for a missing value.
pub(crate) fn is_missing(token: &str) -> bool {
    let word = token
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    token == "null" || word.is_some_and(|word| MISSING.contains(&word))
}

/// Whether a cell stands for a missing value.
pub(crate) fn is_missing_cell(cell: &[u8]) -> bool {
    let cell = cell.trim_ascii();
    MISSING.iter().any(|word| word.as_bytes() == cell)
}
