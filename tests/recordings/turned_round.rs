//! What a real host sent, sent to the handler itself.
