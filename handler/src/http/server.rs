//! The listening socket: connections, and what the host may ask of them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Buf;
use futures_util::future::{Either, ready};
use futures_util::{FutureExt, Stream};
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, error, info, warn};
use warp::Filter;
use warp::http::{HeaderMap, Method, Request, StatusCode, header};
use warp::path::FullPath;

use super::body::{self, ReadRules};
use super::caller::HostRule;
use super::connection::{ConnectionLimits, RequestBody, Socket, Watched};
use super::connections::Connections;
use super::guard::{self, Sharing};
use super::head::Head;
use super::pace::Pace;
use super::reply::{Reply, to_response};
use super::request;
use super::route::Paths;
use super::share;
use super::upload::Upload;
use super::workers::Workers;
use super::{envelope, info, page, target};
use crate::app::App;
use crate::config::Config;
use crate::counters::SCORING;
use crate::event::HostCall;
use crate::problem::Problem;
use crate::protocol::Function;
use crate::telemetry::traces::Origin;

/// How long after the word to stop open connections are still read: a request may be on its way in each of them.
const LAST_REQUESTS: Duration = Duration::from_millis(100);
/// What path, query and all headers may have together; the host's own web server draws the line there too.
const MAX_HEAD_BYTES: usize = 32 << 10;
/// How many headers a request may have: the host takes 100 of a client and adds 3 to 7 of its own.
const MAX_HEADERS: usize = 128;
/// What a connection has read and not yet handed on, and so the most that hyper takes for a head.
const BUFFER_BYTES: usize = 64 << 10;

/// Accepts connections until `stop` ends, then lets requests in work finish for at most `grace`. Those that come in the first
/// moments of it are answered too; every answer then says that its connection ends.
///
/// The loop is our own because warp's server can neither switch off Nagle's algorithm nor bound times and connections.
pub(crate) async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    workers: &Workers,
    stop: impl Future<Output = ()>,
    grace: Duration,
) {
    let stopping = Arc::new(AtomicBool::new(false));
    let config = &app.config;
    let connections = Connections::new(config.max_connections, connection_limits(config));
    // The port that it got, if it left the choice to the system.
    let listen = listener.local_addr().unwrap_or(config.listen);
    let rule = HostRule::new(listen, config.hosted, config.envelopes);
    let routed =
        TowerToHyperService::new(warp::service(routes(app.clone(), rule, stopping.clone())));
    let service = move |mut request: Request<RequestBody>| match target::check(
        request.method(),
        request.uri(),
    ) {
        Ok(()) => {
            target::settle_host(&mut request);
            Either::Left(routed.call(request))
        }
        Err(problem) => Either::Right(ready(Ok(target::refuse(&app, &request, problem)))),
    };
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let stream = tokio::select! {
            stream = next(&listener, &connections) => stream,
            () = &mut stop => break,
        };
        // Answers are small and whole; waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
        workers.serve(stream, |stream, share| {
            let (connection, listed) = connections.add();
            let (service, share, served) = (service.clone(), share.clone(), connection.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let is_long = share::may_be_long(request.headers());
                let request = request.map(|body| served.head_came(body));
                let served = served.clone();
                let answer = share.limit(is_long, service(request));
                answer.inspect(move |_| served.answered())
            });
            let socket = TokioIo::new(Socket::new(stream, connection.clone()));
            let work = hyper::server::conn::http1::Builder::new()
                // Its timer cannot tell an idle connection from a slow head.
                .header_read_timeout(None)
                .max_headers(MAX_HEADERS)
                .max_buf_size(BUFFER_BYTES)
                .serve_connection(socket, service);
            // A client that went away or sent no HTTP is its own affair.
            let work = Watched::new(graceful.watch(work), connection);
            work.map(move |()| drop(listed))
        });
    }
    drop(listener);
    stopping.store(true, Ordering::Relaxed);
    end(workers, graceful, grace).await;
}

fn connection_limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits {
        head: config.header_timeout,
        answers: Pace::new(config.min_rate, config.send_timeout),
    }
}

/// Waits for requests in flight, at most `grace`.
async fn end(workers: &Workers, graceful: GracefulShutdown, grace: Duration) {
    let ending = async {
        let last = Instant::now() + LAST_REQUESTS;
        while workers.connections() > 0 && Instant::now() < last {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        graceful.shutdown().await;
    };
    if tokio::time::timeout(grace, ending).await.is_err() {
        info!(?grace, "requests were still in flight at the end");
    }
}

/// The next connection, once there may be one more.
async fn next(listener: &TcpListener, connections: &Connections) -> TcpStream {
    let stream = accept(listener).await;
    connections.make_way().await;
    stream
}

/// The next connection. Says once that none can be accepted, until one is.
async fn accept(listener: &TcpListener) -> TcpStream {
    let mut refusing = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                // Out of file handles, most likely: others have to close first.
                if !std::mem::replace(&mut refusing, true) {
                    warn!(%error, "connections are not accepted");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn routes(
    app: Arc<App>,
    rule: HostRule,
    stopping: Arc<AtomicBool>,
) -> impl Filter<Extract = (impl warp::Reply,), Error = warp::Rejection> + Clone + Send + Sync + 'static
{
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(
            move |method, path: FullPath, query: String, headers, body| {
                let (app, stopping) = (app.clone(), stopping.clone());
                // In a box: warp and hyper move the future of a request several times.
                Box::pin(async move {
                    let target = (path.as_str(), query.as_str());
                    let sharing = Sharing::of(&app.config, &headers);
                    let preflight = guard::preflight(&app.config, &method, &headers);
                    let mut reply = match preflight {
                        Some(reply) => reply,
                        None if is_probe(&method, target.0) && rule.takes_probe(&headers) => {
                            page::at_root(&app.config, target.1, &headers)
                                .unwrap_or_else(info::alive)
                        }
                        None => guarded(&app, rule, method, target, headers, body).await,
                    };
                    sharing.tell(&mut reply);
                    if stopping.load(Ordering::Relaxed) {
                        reply.set_static(header::CONNECTION, "close");
                    }
                    to_response(reply)
                })
            },
        )
}

fn is_probe(method: &Method, path: &str) -> bool {
    path == "/" && (method == Method::GET || method == Method::HEAD)
}

/// A panic is the failure of one request, not of the process: after three falls the host gives up for good.
async fn guarded<B: Buf + Send + 'static>(
    app: &Arc<App>,
    rule: HostRule,
    method: Method,
    target: (&str, &str),
    headers: HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>> + Send + 'static,
) -> Reply {
    let mut head = Head::forwarded(method, target, &headers);
    let name = head.path.strip_prefix('/');
    let function = name.and_then(|name| app.function(name));
    let function = function.filter(|function| {
        let checked = rule.check_envelope(&head.method, &headers);
        if let Err(reason) = checked {
            let (id, function) = (&head.request_id, &function.name);
            debug!(id, function, reason, "not taken for an envelope");
        }
        checked.is_ok()
    });
    head.is_envelope = function.is_some();
    if !app.config.hosted {
        head.paths = Paths::AtRootToo;
    }
    if guard::needs_label(&app.config, &headers) {
        head.content_encoding.get_or_insert("identity".to_owned());
    }
    let work = AssertUnwindSafe(answer(app, function, &head, target.1, &headers, body));
    match work.catch_unwind().await {
        Ok(reply) => reply,
        Err(_) => {
            error!(id = head.request_id, path = head.path, "request panicked");
            request::refuse(app, &head, Problem::internal())
        }
    }
}

/// `function` is the one whose envelope this is, if it is one; anything else is the public path's, or unknown.
async fn answer<B: Buf + Send + 'static>(
    app: &Arc<App>,
    function: Option<&Function>,
    head: &Head,
    query: &str,
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>> + Send + 'static,
) -> Reply {
    let body = Upload::new(body, headers);
    let held = body.held().clone();
    let unanswered = Unanswered::new(app, head);
    let mut body = Some(body);
    let mut read = async |rules| {
        let Some(body) = body.take() else {
            return Err(Problem::internal());
        };
        let body = body::read(body, headers, rules, &app.bodies).await?;
        unanswered.body_is_there();
        Ok(body)
    };
    // The host's own calls are known by their form.
    let outside = function.is_none() || !app.config.hosted;
    let checked = outside.then(|| guard::check(app, head, query, headers));
    let mut reply = if head.path.len() + query.len() + header_bytes(headers) > MAX_HEAD_BYTES {
        let mut reply = request::refuse(app, head, Problem::head_too_large(MAX_HEAD_BYTES));
        // Who sends such heads is not worth a connection.
        reply.set_static(header::CONNECTION, "close");
        reply
    } else if let Some(Err(problem)) = checked {
        request::refuse(app, head, problem)
    } else if let Some(function) = function {
        let host = HostCall {
            function: &function.name,
            id: &head.request_id,
            origin: &Origin::new(|name| Some(headers.get(name)?.to_str().ok()?.to_owned())),
        };
        match read(envelope::read_rules(app, function)).await {
            // In a box: what only envelopes need would be copied with the future of every request.
            Ok(body) => Box::pin(envelope::invoke(app, function, head, host, body)).await,
            Err(problem) => request::refuse(app, head, problem),
        }
    } else {
        let config = &app.config;
        let pace = Pace::new(config.min_rate, config.body_timeout);
        let rules = ReadRules::at_most(config.max_body_bytes, pace);
        request::answer(app, head, || read(rules)).await
    };
    unanswered.answered();
    // The sender may send the rest of the body or may not, so that nothing else can be read behind it.
    if held.is_back() || reply.status == StatusCode::REQUEST_TIMEOUT {
        reply.set_static(header::CONNECTION, "close");
    }
    if let Some(unread) = body {
        body::discard(unread, headers);
    }
    reply
}

/// Counts a request that is dropped because its client has closed the connection: hyper drops its work then.
struct Unanswered<'a> {
    app: &'a App,
    head: &'a Head,
    scoring: AtomicBool,
}

impl<'a> Unanswered<'a> {
    fn new(app: &'a App, head: &'a Head) -> Self {
        Self {
            app,
            head,
            scoring: AtomicBool::new(false),
        }
    }

    fn body_is_there(&self) {
        self.scoring.store(true, Ordering::Relaxed);
    }

    fn answered(self) {
        self.scoring.store(false, Ordering::Relaxed);
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        // A panic is answered, too.
        if self.scoring.load(Ordering::Relaxed) && !std::thread::panicking() {
            request::closed(self.app, self.head, SCORING);
        }
    }
}

fn header_bytes(headers: &HeaderMap) -> usize {
    let fields = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    fields.sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::task::Poll;

    use bytes::Bytes;
    use futures_util::stream;
    use tracing::Subscriber;
    use tracing::span::{Id, Record};
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt};
    use warp::http::HeaderValue;

    use super::*;
    use crate::http::metrics::{Sources, render};
    use crate::{Config, Envelopes};

    const QUEUE: &str = r#"{"bindings":[{"type":"queueTrigger","direction":"in","name":"m"},
        {"type":"queue","direction":"out","name":"result"}]}"#;

    /// Keeps what spans are told after their start.
    #[derive(Clone, Default)]
    struct Records(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Records {
        fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(format!("{values:?}"));
        }
    }

    #[tokio::test]
    async fn e12_a_panic_is_a_500_for_that_invocation_alone() {
        let records = Records::default();
        let registry = tracing_subscriber::registry().with(records.clone());
        let _tracing = tracing::subscriber::set_default(registry);
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("queue")).unwrap();
        std::fs::write(root.path().join("queue/function.json"), QUEUE).unwrap();
        let config = Config::from_lookup(|name| {
            (name == "FUNCTIONS_APP_ROOT_PATH").then(|| root.path().to_str().unwrap().to_owned())
        });
        let (app, _loading) = App::start(config.unwrap()).unwrap();
        let rule = HostRule::new(([127, 0, 0, 1], 80).into(), false, Envelopes::AnyLength);
        for path in ["/api/score", "/queue"] {
            let boom = stream::poll_fn(|_| -> Poll<Option<Result<Bytes, warp::Error>>> {
                panic!("injected")
            });
            let mut headers = HeaderMap::new();
            let id = HeaderValue::from_static("an-id");
            headers.insert("x-azure-functions-invocationid", id);
            headers.insert("host", HeaderValue::from_static("localhost"));
            let reply = guarded(&app, rule, Method::POST, (path, ""), headers, boom).await;
            assert_eq!(reply.status, 500, "{path}");
            assert_eq!(reply.headers["x-request-id"], "an-id");
            assert!(String::from_utf8_lossy(&reply.body).contains("internal"));
        }
        let sources = Sources {
            admission: app.admission.clone(),
            bodies: app.bodies.clone(),
            memo: app.memo.clone(),
        };
        let (figures, _) = render(sources, None).unwrap();
        for function in ["score", "queue"] {
            let line = format!(
                r#"score_requests_total{{function="{function}",model="none",status="500"}} 1"#
            );
            assert!(figures.lines().any(|l| l == line), "{line} in\n{figures}");
        }
        let told = records.0.lock().unwrap().join("\n");
        for part in ["ERROR", "internal", "500"] {
            assert!(told.contains(part), "{part} in {told}");
        }
        let live = "/api/score/v2/health/live";
        let nothing = stream::empty::<Result<Bytes, warp::Error>>();
        let reply = guarded(
            &app,
            rule,
            Method::GET,
            (live, ""),
            HeaderMap::new(),
            nothing,
        )
        .await;
        assert_eq!(reply.status, 200);
    }
}
