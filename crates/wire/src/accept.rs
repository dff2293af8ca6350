//! What a request's `Accept` header says of a content type. Source: RFC 9110, section 12.5.1.

/// The ranges of a header in lower case, and the weight of each; those whose weight cannot be read are left out.
fn ranges(accept: &str) -> impl Iterator<Item = (String, f32)> {
    accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let range = parts.next()?.to_ascii_lowercase();
        let q = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let q = q.map_or(Some(1.0), |q| q.parse().ok())?;
        Some((range, q))
    })
}

/// Whether the header names the type itself and does not exclude it: `*/*` alone does not ask for it. The type has to be in
/// lower case.
pub fn names(accept: &str, content_type: &str) -> bool {
    ranges(accept).any(|(range, q)| range == content_type && q > 0.0)
}

/// What the most specific range that fits the type says of it; 0 if none does. The type has to be in lower case.
pub fn weight(accept: &str, content_type: &str) -> f32 {
    let kind = content_type
        .split_once('/')
        .map_or(content_type, |(kind, _)| kind);
    let fitting = ranges(accept).filter_map(|(range, q)| {
        let specificity = match range.split_once('/')? {
            _ if range == content_type => 2,
            (of, "*") if of == kind => 1,
            ("*", "*") => 0,
            _ => return None,
        };
        Some((specificity, q))
    });
    let best = fitting.max_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    best.map_or(0.0, |(_, q)| q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_named_unless_it_is_excluded() {
        let npy = "application/x-npy";
        for accept in [
            npy,
            "Application/X-NPY; q=0.1",
            "text/html, application/x-npy",
        ] {
            assert!(names(accept, npy), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "application/*",
            "application/x-npyz",
            "application/x-npy;q=0",
            "application/x-npy; q=0.000, */*",
            "application/x-npy;q=often",
        ] {
            assert!(!names(accept, npy), "{accept}");
        }
    }

    #[test]
    fn the_most_specific_range_counts() {
        let accept = "text/*;q=0.3, text/html;q=0.7, */*;q=0.5";
        assert_eq!(weight(accept, "text/html"), 0.7);
        assert_eq!(weight(accept, "text/plain"), 0.3);
        assert_eq!(weight(accept, "application/json"), 0.5);
        assert_eq!(weight("text/html", "application/json"), 0.0);
    }
}
