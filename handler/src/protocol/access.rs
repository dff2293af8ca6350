//! Which HTTP functions can be called without a key, and whether their routes keep such callers out of the other functions.
//!
//! A forwarding host decodes a path after it has found the function by it. So what a caller puts into a free part of a
//! route, `..%5Cscore/metrics`, leads anywhere in this program, and an anonymous function opens all others.

use anyhow::bail;

/// Constraints of routes under which a part holds neither dots nor slashes.
const NARROW: [&str; 8] = [
    "alpha", "bool", "guid", "int", "long", "max", "min", "range",
];

/// Who may call an HTTP function, and by which path.
#[derive(Debug)]
pub(super) struct Access {
    /// The folder's name.
    pub(super) function: String,
    /// Whether it takes calls without a key.
    pub(super) anonymous: bool,
    /// As in function.json; the function's name where there is none.
    pub(super) route: String,
}

impl Access {
    /// Whether a caller without a key reaches scores by it.
    pub(super) fn opens_scores(&self) -> bool {
        let first = self.route.split('/').next().unwrap_or_default();
        let leads_there = first.eq_ignore_ascii_case("score") || first.contains('{');
        self.anonymous && (leads_there || free_part(&self.route).is_some())
    }
}

/// Refuses an anonymous function through which a caller without a key could reach functions that ask for one.
///
/// # Errors
/// Names both functions, the part of the route, and the forms that are safe.
pub(super) fn check(all: &[Access]) -> anyhow::Result<()> {
    let Some(keyed) = all.iter().find(|access| !access.anonymous) else {
        return Ok(());
    };
    for access in all.iter().filter(|access| access.anonymous) {
        let Some(part) = free_part(&access.route) else {
            continue;
        };
        let (name, route) = (&access.function, &access.route);
        let keyed = &keyed.function;
        bail!(
            "{name}/function.json: authLevel is anonymous, and the part {part:?} of the route {route:?} takes any text: \
             through a host that forwards requests, callers without a key would reach {keyed:?} and everything else by it. \
             Use a route without parameters such as \"health/live\", or a narrow one such as \"{{probe:alpha}}\" or \
             \"{{probe:regex(^(live|ready)$)}}\", or set authLevel to function"
        );
    }
    Ok(())
}

/// The first parameter of a route that takes dots or slashes.
fn free_part(route: &str) -> Option<&str> {
    let mut rest = route;
    while let Some(start) = rest.find('{') {
        // Braces inside a constraint are doubled; a constraint that holds one is refused.
        let end = rest[start..].find('}').map(|end| start + end);
        let Some(end) = end else {
            return Some(&rest[start..]);
        };
        let part = &rest[start..=end];
        if !is_narrow(&part[1..part.len() - 1]) {
            return Some(part);
        }
        rest = &rest[end + 1..];
    }
    None
}

fn is_narrow(parameter: &str) -> bool {
    let Some((name, constraints)) = parameter.split_once(':') else {
        return false;
    };
    let literal = |c: char| c.is_ascii_alphanumeric() || "|()-_".contains(c);
    let words = constraints
        .strip_prefix("regex(^(")
        .and_then(|rest| rest.trim_end_matches('?').strip_suffix(")$)"));
    if let Some(words) = words {
        return !name.contains('*') && words.chars().all(literal);
    }
    !name.contains('*')
        && constraints.split(':').any(|constraint| {
            let word = constraint.split(['(', '=', '?']).next().unwrap_or_default();
            NARROW
                .iter()
                .any(|narrow| narrow.eq_ignore_ascii_case(word))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(function: &str, anonymous: bool, route: &str) -> Access {
        Access {
            function: function.to_owned(),
            anonymous,
            route: route.to_owned(),
        }
    }

    fn checked(route: &str) -> anyhow::Result<()> {
        check(&[
            access("open", true, route),
            access("score_http", false, "score/{*path}"),
        ])
    }

    #[test]
    fn an_anonymous_function_has_a_fixed_or_narrow_route() {
        for route in [
            "health/live",
            "open",
            "health/{probe:alpha}",
            "health/{probe:alpha?}",
            "health/{probe:regex(^(live|ready)$)}",
            "{year:int:min(2000)}/{id:guid}",
        ] {
            assert!(checked(route).is_ok(), "{route}");
        }
        for (route, part) in [
            ("{*path}", "{*path}"),
            ("health/{*path}", "{*path}"),
            ("health/{**path}", "{**path}"),
            ("health/{probe}", "{probe}"),
            ("health/{probe?}", "{probe?}"),
            ("health/{probe=live}", "{probe=live}"),
            ("health/{kind:alpha}/{id}", "{id}"),
            ("health/x{probe}y", "{probe}"),
            ("{probe:maxlength(20)}", "{probe:maxlength(20)}"),
            ("{probe:length(4)}", "{probe:length(4)}"),
            ("{probe:required}", "{probe:required}"),
            ("{probe:regex(.*)}", "{probe:regex(.*)}"),
            ("{probe:regex(^(.*)$)}", "{probe:regex(^(.*)$)}"),
            ("{*path:alpha}", "{*path:alpha}"),
            ("health/{probe", "{probe"),
        ] {
            let refusal = checked(route).unwrap_err().to_string();
            assert!(refusal.contains(&format!("{part:?}")), "{refusal}");
            for told in [
                "open/function.json",
                "score_http",
                "{probe:alpha}",
                "health/live",
            ] {
                assert!(refusal.contains(told), "{told}: {refusal}");
            }
        }
    }

    #[test]
    fn a_free_route_opens_nothing_where_no_function_asks_for_a_key() {
        let open = access("score_http", true, "score/{*path}");
        let live = access("score_health_live", true, "health/live");
        assert!(check(&[open, live]).is_ok());
    }
}
