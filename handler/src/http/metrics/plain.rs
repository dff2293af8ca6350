//! The older text format of Prometheus, `text/plain; version=0.0.4`, made of OpenMetrics text as `prometheus-client`
//! writes it. It differs in the lines of comments: there a family has the full name of its samples, and there are no
//! units and no end.

/// The same metrics.
pub(super) fn of(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(comment) = line.strip_prefix("# ") else {
            text.extend([line, "\n"]);
            continue;
        };
        let Some(("HELP", rest)) = comment.split_once(' ') else {
            continue;
        };
        let Some((name, help)) = rest.split_once(' ') else {
            continue;
        };
        let kind = lines.next_if(|line| line.starts_with("# TYPE "));
        let kind = kind.and_then(|line| line.rsplit_once(' '));
        let (suffix, kind) = match kind.map_or("untyped", |(_, kind)| kind) {
            "counter" => ("_total", "counter"),
            "info" => ("_info", "gauge"),
            kind => ("", kind),
        };
        text.push_str(&format!(
            "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_the_names_of_their_samples() {
        let open_metrics = "# HELP rows Rows.\n# TYPE rows counter\nrows_total{model=\"a # b\"} 6\n\
            # HELP took_seconds Time.\n# TYPE took_seconds histogram\n# UNIT took_seconds seconds\n\
            took_seconds_bucket{le=\"+Inf\"} 1\n\
            # HELP build Build.\n# TYPE build info\nbuild_info{version=\"1\"} 1\n# EOF\n";
        let plain = "# HELP rows_total Rows.\n# TYPE rows_total counter\nrows_total{model=\"a # b\"} 6\n\
            # HELP took_seconds Time.\n# TYPE took_seconds histogram\ntook_seconds_bucket{le=\"+Inf\"} 1\n\
            # HELP build_info Build.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n";
        assert_eq!(of(open_metrics), plain);
    }
}
