//! The fuzz targets' entry points over their corpus.

use crate::bounded::run;
use crate::entry_points;

#[test]
fn no_json_is_more_than_the_readers_expect() {
    run("json", entry_points::json);
}

#[test]
fn no_texts_are_more_than_the_readers_expect() {
    run("texts", entry_points::texts);
}

#[test]
fn no_body_of_another_format_is_more_than_the_readers_expect() {
    run("formats", entry_points::formats);
}

#[test]
fn no_stored_value_is_more_than_the_readers_expect() {
    run("stored", entry_points::stored);
}

#[test]
fn no_accept_header_is_more_than_the_parser_expects() {
    run("accept", entry_points::accept);
}
