//! HTTP through the stand-in, forwarded, proxied and in envelopes, compared with what a real host did.

use tokio::sync::mpsc;

use super::{assert_requests, replay_all, start};
use functions_host::answer::Answer;
use functions_host::host::FunctionsHost;
use functions_host::recorder::Recorder;
use functions_host::recording::{Call, Recording, bytes};

/// Cases with a test of their own below.
const APART: [&str; 4] = [
    "busy-429",
    "client-disconnect",
    "post-chunked-streamed",
    "http-handler-302",
];

#[tokio::test]
async fn forwarded_requests_and_answers_are_those_of_the_host() {
    replay("forwarding", "forwarding").await;
}

#[tokio::test]
async fn proxied_requests_and_answers_are_those_of_the_host() {
    replay("proxying", "proxying").await;
}

#[tokio::test]
async fn http_functions_get_the_envelopes_of_the_host() {
    replay("envelope", "envelope").await;
}

/// Every case of a group that has a caller of an HTTP function.
async fn replay(group: &str, mode: &str) {
    let is_http = |recording: &Recording| {
        !recording.member("client_answer").is_null() && recording.member("trigger").is_null()
    };
    let recordings = Recording::group(group).into_iter();
    let of_http = recordings.filter(|one| is_http(one) && !APART.contains(&one.name()));
    replay_all(group, of_http, async |recording| {
        let (host, recorder) = start(&recording, mode).await;
        let answer = send(&host, &recording.call().unwrap()).await;
        compare(&recording, &recorder, &answer)
    })
    .await;
}

async fn send(host: &FunctionsHost, call: &Call) -> Answer {
    host.http(&call.method, &call.target, &call.header_pairs(), &call.body)
        .await
}

fn compare(recording: &Recording, recorder: &Recorder, got: &Answer) -> Result<(), String> {
    assert_requests(
        recording.name(),
        &recorder.requests(),
        &recording.requests(),
    )?;
    if let Some(count) = recording.member("connections_without_request").as_u64() {
        // The probe at the start had one.
        let empty = recorder.connections() - recorder.requests().len();
        if empty != count as usize {
            return Err(format!(
                "{}: {empty} connections without a request",
                recording.name()
            ));
        }
    }
    compare_answer(recording, got)
}

/// Headers of the host's web server, which the stand-in has none of, and of the framing do not count.
fn compare_answer(recording: &Recording, got: &Answer) -> Result<(), String> {
    const NOT_COMPARED: [&str; 5] = [
        "date",
        "server",
        "content-length",
        "transfer-encoding",
        "connection",
    ];
    let plain = |headers: &[(String, String)]| {
        let mut kept: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .filter(|(name, _)| !NOT_COMPARED.contains(&&**name))
            .collect();
        kept.sort();
        kept
    };
    let (status, headers, body) = Recording::answer_of(recording.member("client_answer"));
    let recorded = (status, plain(&headers), body);
    let got = (got.status, plain(&got.headers), got.body.clone());
    match got == recorded {
        true => Ok(()),
        false => Err(format!(
            "{}: the caller got {got:?} instead of {recorded:?}",
            recording.name()
        )),
    }
}

#[tokio::test]
async fn one_more_than_may_be_outstanding_gets_a_429() {
    let recording = Recording::case("forwarding", "busy-429");
    let (host, recorder) = start(&recording, "forwarding").await;
    let key = [("x-functions-key", "FK")];
    let permit = host.throttle().enter().await.unwrap();
    let answer = send(&host, &recording.call().unwrap()).await;
    compare_answer(&recording, &answer).unwrap();
    drop(permit);
    host.http("GET", "/api/score/first", &key, "")
        .await
        .expect_status(200);
    assert_requests("busy-429", &recorder.requests(), &recording.requests()).unwrap();
}

#[tokio::test]
async fn a_caller_that_goes_away_is_noticed_through_a_proxying_host_only() {
    for mode in ["proxying", "forwarding"] {
        let recording = Recording::case(mode, "client-disconnect");
        let held = Recording::case("proxying", "client-disconnect");
        let (host, recorder) = start(&held, mode).await;
        let call = recording.call().unwrap();
        tokio::select! {
            answer = send(&host, &call) => panic!("{answer:?}"),
            () = recorder.wait_for_requests(1) => {}
        }
        assert_requests(mode, &recorder.requests(), &recording.requests()).unwrap();
        if mode == "proxying" {
            recorder.wait_until_abandoned().await;
        } else {
            // By the time that the next request is here, the host has seen that the client of the first is gone.
            tokio::select! {
                answer = send(&host, &call) => panic!("{answer:?}"),
                () = recorder.wait_for_requests(2) => {}
            }
            assert!(!recorder.is_abandoned());
        }
    }
}

#[tokio::test]
async fn a_chunked_upload_reaches_the_handler_piece_by_piece_through_a_proxying_host() {
    let recording = Recording::case("proxying", "post-chunked-streamed");
    let (host, recorder) = start(&recording, "proxying").await;
    let (sender, pieces) = mpsc::channel(1);
    let call = recording.call().unwrap();
    let mut headers = call.header_pairs();
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case("transfer-encoding"));
    let (first, second) = call.body.split_at(8);
    let sending = async {
        sender.send(first.to_vec()).await.unwrap();
        recorder.wait_for_body(8).await;
        sender.send(second.to_vec()).await.unwrap();
        drop(sender);
    };
    let (answer, ()) = tokio::join!(host.upload(&call.target, &headers, pieces), sending);
    compare(&recording, &recorder, &answer.unwrap()).unwrap();
}

#[tokio::test]
async fn a_host_asks_whether_the_handler_answers_with_one_bare_request() {
    for case in ["start-up", "check-health-ping"] {
        let recording = Recording::case("probe", case);
        let (host, recorder) = start(&recording, "forwarding").await;
        if case == "check-health-ping" {
            host.wait_ready(functions_host::PATIENCE).await.unwrap();
        }
        let probes = recorder.probes();
        assert_requests(case, &probes[probes.len() - 1..], &recording.requests()).unwrap();
        assert_eq!(recorder.requests(), []);
        assert_eq!(
            bytes(recording.member("handler_answers").get(0).unwrap(), "raw").unwrap(),
            functions_host::recorder::OK
        );
    }
}
