//! The header `Accept`: the weight that a request gives to a content type. Source: RFC 9110, section 12.5.1.

/// The weight of a type, from 0 to 1, by the most specific range that fits it; 0 if no range fits.
pub fn weight(accept: &str, wanted: &str) -> f32 {
    let kind = wanted.split_once('/').map_or(wanted, |(kind, _)| kind);
    let fitting = ranges(accept).filter_map(|(range, q)| {
        let specificity = match range.split_once('/')? {
            _ if range == wanted => 2,
            (of, "*") if of == kind => 1,
            ("*", "*") => 0,
            _ => return None,
        };
        Some((specificity, q))
    });
    let best = fitting.max_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    best.map_or(0.0, |(_, q)| q)
}

/// The weight of a type that a request has to name; ranges such as `*/*` do not count.
pub fn weight_if_named(accept: &str, wanted: &str) -> f32 {
    let named = ranges(accept).filter(|(range, _)| range == wanted);
    named.map(|(_, q)| q).fold(0.0, f32::max)
}

/// The ranges in lower case with their weights. A range whose weight is not a number is left out.
fn ranges(accept: &str) -> impl Iterator<Item = (String, f32)> {
    accept.split(',').filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let range = parts.next()?.to_ascii_lowercase();
        let q = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let q: f32 = q.map_or(Some(1.0), |q| q.parse().ok())?;
        Some((range, q))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_range_counts() {
        let accept = "text/*;q=0.3, text/HTML; level=1;q=0.7, */*;q=0.1, image/png;q=0";
        assert_eq!(weight(accept, "text/html"), 0.7);
        assert_eq!(weight(accept, "text/plain"), 0.3);
        assert_eq!(weight(accept, "application/json"), 0.1);
        assert_eq!(weight(accept, "image/png"), 0.0);
        assert_eq!(weight("text/html;q=often", "text/html"), 0.0);
        assert_eq!(weight("", "text/html"), 0.0);
    }

    #[test]
    fn a_type_that_has_to_be_named_is_not_got_by_a_wildcard() {
        let npy = "application/x-npy";
        assert_eq!(weight_if_named("*/*, application/*", npy), 0.0);
        assert_eq!(weight_if_named("application/x-npy;q=0, */*", npy), 0.0);
        assert_eq!(
            weight_if_named("application/json, Application/X-NPY;q=0.5", npy),
            0.5
        );
    }
}
