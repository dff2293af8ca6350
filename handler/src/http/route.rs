//! Which path means what. Pure, so that the forwarded form and the envelope share it.

use score::Scorer;
use warp::http::Method;

use super::reply::ErrorForm;
use crate::models::{Models, NoModel, Wanted};
use crate::problem::Problem;

/// The public path of everything but the host's own calls: the route prefix of host.json and the route in
/// `score_http/function.json`.
pub(super) const PREFIX: &str = "/api/score";

/// The same with that route, as traces name it.
const TEMPLATE: &str = "/api/score/{*path}";

/// The routes of `score_health_live` and `score_health_ready`, which need no key.
const LIVE: &str = "/api/health/live";
const READY: &str = "/api/health/ready";

/// The model a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelRef {
    pub(super) name: String,
    /// The version, where the path names one.
    pub(super) version: Option<String>,
}

impl ModelRef {
    /// The model, if it is loaded and of that version.
    pub(super) fn find<'a>(&self, models: &'a Models) -> Result<&'a Scorer, NoModel> {
        models.find(self.wanted()).map(|scorer| &**scorer)
    }

    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            name: Some(&self.name),
            version: self.version.as_deref(),
        }
    }
}

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// Score with a model, or with the default one.
    Score(Option<ModelRef>),
    /// OpenAI's embeddings; the body may name the model.
    Embeddings,
    /// What a model expects, or all of them.
    Describe(Option<String>),
    /// Prometheus text.
    Metrics,
    /// The OpenAPI document.
    OpenApi,
    /// Open Inference Protocol: the server.
    Server,
    /// Open Inference Protocol: the process lives.
    Live,
    /// Open Inference Protocol: models can be asked, those that could be loaded.
    Ready,
    /// Open Inference Protocol: a model's metadata.
    Model(ModelRef),
    /// Open Inference Protocol: one model is loaded.
    ModelReady(ModelRef),
    /// For the platform, which has no key: the process answers.
    HealthLive,
    /// For the platform, which has no key: at least one model serves.
    HealthReady,
}

impl Route {
    /// The model that is to score, if this is what the request is for.
    pub(super) fn wanted(&self) -> Option<Wanted<'_>> {
        match self {
            Self::Score(model) => Some(
                model
                    .as_ref()
                    .map_or_else(Wanted::default, ModelRef::wanted),
            ),
            Self::Embeddings => Some(Wanted::default()),
            _ => None,
        }
    }
}

/// The rest of a path that is the prefix or below it. The host matches routes in any letter case.
fn below_prefix(path: &str) -> Option<&str> {
    let (head, rest) = path.split_at_checked(PREFIX.len())?;
    let ends_there = rest.is_empty() || rest.starts_with('/');
    (ends_there && head.eq_ignore_ascii_case(PREFIX)).then_some(rest)
}

/// The route by which the host lets a path through, if there is one.
pub(super) fn template(path: &str) -> Option<&'static str> {
    match below_prefix(path) {
        Some(_) => Some(TEMPLATE),
        None => health(path.strip_suffix('/').unwrap_or(path)).map(|(route, _)| route),
    }
}

/// Whether anyone may ask for it, by any name and without a key: probes that tell one word.
pub(super) fn is_open(method: &Method, path: &str) -> bool {
    let probe = |route| {
        matches!(
            route,
            Route::HealthLive | Route::HealthReady | Route::Live | Route::Ready
        )
    };
    find(method, path).is_ok_and(probe)
}

/// What a path of the platform's probes asks, and its route.
fn health(path: &str) -> Option<(&'static str, Route)> {
    if path.eq_ignore_ascii_case(LIVE) {
        Some((LIVE, Route::HealthLive))
    } else if path.eq_ignore_ascii_case(READY) {
        Some((READY, Route::HealthReady))
    } else {
        None
    }
}

/// The form that errors take below this path.
pub(super) fn error_form(path: &str) -> ErrorForm {
    let below = |start: &str| {
        let rest = below_prefix(path).and_then(|rest| rest.strip_prefix(start));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if below("/v2") {
        ErrorForm::OpenInference
    } else if below("/v1/embeddings") {
        ErrorForm::OpenAi
    } else {
        ErrorForm::Own
    }
}

/// Finds the meaning of a public path.
///
/// # Errors
/// 404 for an unknown path, 405 for a method the path does not take.
pub(super) fn find(method: &Method, path: &str) -> Result<Route, Problem> {
    let named = path;
    let path = path.strip_suffix('/').unwrap_or(path);
    let Some(rest) = below_prefix(path) else {
        return match (health(path), method) {
            (None, _) => Err(Problem::no_such_path(named)),
            (Some((_, route)), &(Method::GET | Method::HEAD)) => Ok(route),
            (Some(_), _) => Err(Problem::method_not_allowed(true, false)),
        };
    };
    let parts: Vec<&str> = match rest.strip_prefix('/') {
        Some(rest) => rest.split('/').collect(),
        None => Vec::new(),
    };
    let (get, post) = choices(&parts).ok_or_else(|| Problem::no_such_path(path))?;
    let wanted = match *method {
        Method::GET | Method::HEAD => get.clone(),
        Method::POST => post.clone(),
        _ => None,
    };
    wanted.ok_or_else(|| Problem::method_not_allowed(get.is_some(), post.is_some()))
}

/// What GET and what POST mean for a path below the prefix.
fn choices(parts: &[&str]) -> Option<(Option<Route>, Option<Route>)> {
    let get = |route| Some((Some(route), None));
    match parts {
        [] => Some((Some(Route::Describe(None)), Some(Route::Score(None)))),
        ["metrics"] => get(Route::Metrics),
        ["openapi.json"] => get(Route::OpenApi),
        ["v2"] => get(Route::Server),
        ["v2", "health", "live"] => get(Route::Live),
        ["v2", "health", "ready"] => get(Route::Ready),
        ["v2", "models", model, "versions", version, rest @ ..] => {
            of_model(model, Some(*version), rest)
        }
        ["v2", "models", model, rest @ ..] => of_model(model, None, rest),
        ["v2", ..] => None,
        ["v1", "embeddings"] => Some((None, Some(Route::Embeddings))),
        [model] => {
            let name = Some((*model).to_owned());
            let model = model_ref(model, None);
            Some((Some(Route::Describe(name)), Some(Route::Score(Some(model)))))
        }
        _ => None,
    }
}

/// What GET and what POST mean below a model of the Open Inference Protocol.
fn of_model(
    model: &str,
    version: Option<&str>,
    rest: &[&str],
) -> Option<(Option<Route>, Option<Route>)> {
    let model = model_ref(model, version);
    match rest {
        [] => Some((Some(Route::Model(model)), None)),
        ["ready"] => Some((Some(Route::ModelReady(model)), None)),
        ["infer"] => Some((None, Some(Route::Score(Some(model))))),
        _ => None,
    }
}

fn model_ref(name: &str, version: Option<&str>) -> ModelRef {
    ModelRef {
        name: name.to_owned(),
        version: version.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, path: &str) -> Result<Route, u16> {
        find(&method, path).map_err(|problem| problem.status())
    }

    #[test]
    fn finds_models_and_protocol_paths() {
        let iris = || Some(model_ref("iris", None));
        let second = || model_ref("iris", Some("2"));
        let cases = [
            (Method::POST, "/api/score", Route::Score(None)),
            (Method::POST, "/api/score/", Route::Score(None)),
            (Method::POST, "/API/Score", Route::Score(None)),
            (Method::POST, "/api/score/iris", Route::Score(iris())),
            (
                Method::GET,
                "/api/score/iris",
                Route::Describe(Some("iris".into())),
            ),
            (Method::HEAD, "/api/score", Route::Describe(None)),
            (Method::GET, "/api/score/metrics", Route::Metrics),
            (Method::GET, "/api/score/openapi.json", Route::OpenApi),
            (
                Method::POST,
                "/api/score/v2/models/iris/versions/2/infer",
                Route::Score(Some(second())),
            ),
            (
                Method::GET,
                "/api/score/v2/models/iris/versions/2",
                Route::Model(second()),
            ),
            (Method::GET, "/api/score/v2/health/ready", Route::Ready),
            (Method::GET, "/api/health/live", Route::HealthLive),
            (Method::POST, "/api/score/v1/embeddings", Route::Embeddings),
            (Method::HEAD, "/api/Health/READY/", Route::HealthReady),
            (
                Method::POST,
                "/api/score/v2/models/iris/infer",
                Route::Score(iris()),
            ),
        ];
        for (method, path, route) in cases {
            assert_eq!(found(method, path), Ok(route), "{path}");
        }
    }

    #[test]
    fn public_is_what_lies_below_the_prefix_and_health() {
        for path in ["/api/score", "/API/Score/", "/api/score/a/b"] {
            assert_eq!(template(path), Some(TEMPLATE), "{path}");
        }
        assert_eq!(template("/api/health/live"), Some(LIVE));
        assert_eq!(template("/API/Health/Ready/"), Some(READY));
        for path in [
            "/api/scorer",
            "/api/score_http",
            "/api",
            "/",
            "",
            "/api/health",
            "/api/health/live/x",
            "/health/live",
            "/score_health_live",
        ] {
            assert_eq!(template(path), None, "{path}");
        }
    }

    #[test]
    fn tells_unknown_paths_from_wrong_methods() {
        for path in [
            "/",
            "/api",
            "/api/scorer",
            "/api/score/a/b",
            "/api/score/v2/x",
        ] {
            assert_eq!(found(Method::GET, path), Err(404), "{path}");
        }
        for (method, path) in [
            (Method::PUT, "/api/score"),
            (Method::POST, "/api/score/metrics"),
            (Method::POST, "/api/health/live"),
            (Method::GET, "/api/score/v2/models/iris/infer"),
        ] {
            assert_eq!(found(method, path), Err(405), "{path}");
        }
    }
}
