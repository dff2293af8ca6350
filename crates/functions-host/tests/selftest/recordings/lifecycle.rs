//! Crashes and ends of the handler, compared with what a real host did.

use std::sync::Arc;

use nix::sys::signal::Signal;

use super::assert_requests;
use functions_host::PATIENCE;
use functions_host::answer::Answer;
use functions_host::host::{FunctionsHost, HostOptions};
use functions_host::port;
use functions_host::recorded_app::app;
use functions_host::recorder::{OK, Recorder};
use functions_host::recording::{Call, Recording, Reply, Request};
use functions_host::supervisor::{State, Supervisor};

/// A host that watches its child, and the handler that the child would be.
struct Watched {
    host: Arc<FunctionsHost>,
    supervisor: Supervisor,
    recorder: Recorder,
}

impl Watched {
    /// A handler that holds its first `held` answers.
    async fn start(recording: &Recording, held: usize) -> Self {
        let port = port::free();
        let ok = Reply::Bytes(OK.to_vec());
        let replies = std::iter::repeat_n(Reply::Hold, held).chain([ok]);
        let recorder = Recorder::start(port, replies.collect()).await;
        let options = HostOptions::default().port(port).key("FK");
        let app = app("forwarding", recording.member("settings"));
        let host = Arc::new(FunctionsHost::start(&app, options).await);
        Self {
            supervisor: Supervisor::start(&host),
            host,
            recorder,
        }
    }

    /// Sends what a recorded client sent, as soon as the host takes it.
    async fn send(&self, recording: &Recording, client: usize) -> Answer {
        let request = recording.member("clients")[client]["request"].as_str();
        let call = Call::parse(request.unwrap().as_bytes());
        self.supervisor.look_at_child();
        self.supervisor.initialized().await.unwrap();
        let headers = call.header_pairs();
        self.host
            .http(&call.method, &call.target, &headers, &call.body)
            .await
    }

    /// Ends the child with `signal`, and its connections, once as many requests have come.
    async fn end(&mut self, requests: usize, signal: Signal) {
        self.recorder.wait_for_requests(requests).await;
        let restarts = self.supervisor.restarts();
        // In this order: the successor must not be asked through the port of its predecessor.
        self.recorder.stop().await;
        self.host.signal(signal);
        while self.host.is_running() && self.supervisor.restarts() == restarts {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// The next child listens when it has started.
    async fn listen_again(&mut self, restarts: usize) {
        while self.supervisor.restarts() < restarts {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        self.recorder.listen().await;
    }

    /// Compares all requests, in any order, and how often new children were asked whether they answer.
    fn compare(&self, recording: &Recording) {
        let by_head = |mut requests: Vec<Request>| {
            requests.sort();
            requests
        };
        let (probes, recorded): (Vec<Request>, Vec<Request>) = recording
            .requests()
            .into_iter()
            .partition(|request| request.head.starts_with("GET / HTTP"));
        let got = by_head(self.recorder.requests());
        assert_requests(recording.name(), &got, &by_head(recorded)).unwrap();
        // The first child was asked before the recording began.
        assert_eq!(self.recorder.probes().len(), probes.len() + 1);
    }
}

fn status(recording: &Recording, client: usize) -> u16 {
    Recording::answer_of(&recording.member("clients")[client]["answer"]).0
}

#[tokio::test]
async fn calls_in_flight_fail_with_a_killed_handler_and_the_next_one_waits_for_its_successor() {
    let recording = Recording::case("lifecycle", "killed");
    let mut watched = Watched::start(&recording, 2).await;
    let host = Arc::clone(&watched.host);
    let flying = tokio::spawn({
        let key = [
            ("x-functions-key", "FK"),
            ("Content-Type", "application/json"),
        ];
        async move {
            let post = host.http("POST", "/api/score/slow", &key, r#"{"data":[[1,2]]}"#);
            tokio::join!(post, host.http("GET", "/api/score/slow", &key[..1], ""))
        }
    });
    watched.end(2, Signal::SIGKILL).await;
    let (post, get) = flying.await.unwrap();
    assert_eq!((post.status, get.status), (500, 500));
    assert_eq!((status(&recording, 0), status(&recording, 1)), (500, 500));
    watched.supervisor.look_at_child();
    watched.listen_again(1).await;
    let after = watched.send(&recording, 2).await;
    assert_eq!(after.status, status(&recording, 2));
    watched.compare(&recording);
}

#[tokio::test]
async fn a_handler_that_ends_with_0_is_not_started_again() {
    let recording = Recording::case("lifecycle", "exit-0");
    let mut watched = Watched::start(&recording, 1).await;
    die(&mut watched, &recording, Signal::SIGUSR1).await;
    // The clients between are pings of the host, which it answers itself.
    for client in [1, 4] {
        let answer = watched.send(&recording, client).await;
        assert_eq!(answer.status, status(&recording, client));
    }
    assert_eq!(watched.supervisor.restarts(), 0);
    watched.compare(&recording);
}

#[tokio::test]
async fn a_handler_that_ends_with_200_or_1_is_started_again() {
    for (case, signal) in [("exit-200", Signal::SIGUSR2), ("exit-1", Signal::SIGALRM)] {
        let recording = Recording::case("lifecycle", case);
        let mut watched = Watched::start(&recording, 1).await;
        die(&mut watched, &recording, signal).await;
        watched.listen_again(1).await;
        let clients = recording.member("clients").as_array().unwrap().len();
        for client in 1..clients {
            let next = watched.send(&recording, client).await;
            assert_eq!(next.status, status(&recording, client), "{case}");
        }
        watched.supervisor.initialized().await.unwrap();
        watched.compare(&recording);
    }
}

#[tokio::test]
async fn the_third_crash_ends_the_host() {
    let recording = Recording::case("lifecycle", "third-crash");
    let mut watched = Watched::start(&recording, 3).await;
    for crash in 1..=2 {
        watched.recorder.stop().await;
        watched.host.signal(Signal::SIGALRM);
        watched.listen_again(crash).await;
        while watched.supervisor.state() != State::Initialized {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }
    die(&mut watched, &recording, Signal::SIGALRM).await;
    watched.supervisor.wait_stopped(PATIENCE).await;
    let recorded = recording.requests();
    assert_requests("third-crash", &watched.recorder.requests(), &recorded).unwrap();
}

/// The first client's request, at which the handler ends.
async fn die(watched: &mut Watched, recording: &Recording, signal: Signal) {
    let request = recording.member("clients")[0]["request"].as_str();
    let call = Call::parse(request.unwrap().as_bytes());
    let host = Arc::clone(&watched.host);
    let dying = tokio::spawn(async move {
        let headers = call.header_pairs();
        host.http(&call.method, &call.target, &headers, &call.body)
            .await
    });
    watched.end(1, signal).await;
    assert_eq!(dying.await.unwrap().status, status(recording, 0));
}
