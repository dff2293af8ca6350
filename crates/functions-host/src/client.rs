//! The host's HTTP client: keep-alive connections to one port, requests sent byte for byte as given.

use std::io::ErrorKind;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::answer::Answer;
use super::http1::{RawConnection, RawResponse};

/// After this long unused the host closes a connection.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// How often a request without a body is sent again.
const RESENDS: usize = 3;
/// Milliseconds between the attempts of a host that proxies.
const PAUSES: [u64; 9] = [50, 100, 200, 250, 250, 250, 250, 250, 250];

/// Why a request had no answer.
#[derive(Debug)]
pub enum Failure {
    /// No connection: refused or another socket error.
    Connect(std::io::Error),
    /// The connection ended or the answer made no sense.
    Transport(std::io::Error),
    /// No complete answer within the limit.
    TimedOut,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(error) => write!(to, "cannot connect: {error}"),
            Self::Transport(error) => write!(to, "no answer: {error}"),
            Self::TimedOut => to.write_str("no answer in time"),
        }
    }
}

/// A request as it goes over the wire.
#[derive(Clone, Debug)]
pub struct Request {
    /// Request line and headers, with the empty line.
    pub head: Vec<u8>,
    /// The body with its transfer coding.
    pub body: Vec<u8>,
}

/// A pool of connections to one port of 127.0.0.1.
#[derive(Debug)]
pub struct Client {
    port: u16,
    limit: Duration,
    idle: Mutex<Vec<(RawConnection, Instant)>>,
}

impl Client {
    /// A client without connections; a request fails after `limit`.
    pub fn new(port: u16, limit: Duration) -> Self {
        Self {
            port,
            limit,
            idle: Mutex::default(),
        }
    }

    /// Sends one request and reads its answer.
    pub async fn send(&self, request: &Request) -> Result<Answer, Failure> {
        timeout(self.limit, self.send_unlimited(request))
            .await
            .unwrap_or(Err(Failure::TimedOut))
    }

    /// The same with up to ten attempts, as a host that proxies makes them. A body that was begun is not sent again:
    /// then the other attempts only connect.
    pub async fn send_persistently(&self, request: &Request) -> Result<Answer, Failure> {
        let mut failed = match self.send(request).await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        for pause in PAUSES {
            if matches!(failed, Failure::TimedOut) {
                break;
            }
            sleep(Duration::from_millis(pause)).await;
            let is_begun = matches!(failed, Failure::Transport(_)) && !request.body.is_empty();
            if is_begun {
                drop(self.connect().await);
                continue;
            }
            failed = match self.send(request).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
        }
        Err(failed)
    }

    /// Closes all idle connections.
    pub fn forget_connections(&self) {
        self.idle().clear();
    }

    async fn send_unlimited(&self, request: &Request) -> Result<Answer, Failure> {
        let mut connection = match self.take_idle() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        // A request without a body is sent again when its connection ends before any answer.
        let mut resends = if request.body.is_empty() { RESENDS } else { 0 };
        loop {
            match self.exchange(connection, request).await {
                Err(error) if resends > 0 && error.kind() == ErrorKind::ConnectionAborted => {
                    resends -= 1;
                    connection = self.connect().await?;
                }
                other => return other.map_err(Failure::Transport),
            }
        }
    }

    async fn connect(&self) -> Result<RawConnection, Failure> {
        RawConnection::open(self.port)
            .await
            .map_err(Failure::Connect)
    }

    async fn exchange(
        &self,
        connection: RawConnection,
        request: &Request,
    ) -> std::io::Result<Answer> {
        let is_head = request.head.starts_with(b"HEAD ");
        let (response, is_sent) = send_and_read(&connection, request, is_head).await?;
        if response.keeps_alive && is_sent {
            self.idle().push((connection, Instant::now()));
        }
        Ok(response.answer)
    }

    fn take_idle(&self) -> Option<RawConnection> {
        let mut idle = self.idle();
        while let Some((connection, since)) = idle.pop() {
            if since.elapsed() < IDLE_LIMIT && connection.is_idle() {
                return Some(connection);
            }
        }
        None
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(RawConnection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The response, which may come before all is sent, and whether all was sent.
async fn send_and_read(
    connection: &RawConnection,
    request: &Request,
    is_head: bool,
) -> std::io::Result<(RawResponse, bool)> {
    let sending = async {
        connection.send(&request.head).await?;
        send_in_pieces(connection, &request.body).await
    };
    let reading = connection.read_response(is_head);
    tokio::pin!(sending, reading);
    tokio::select! {
        biased;
        // a server may refuse early and close; what it said counts, not that it stopped reading
        sent = &mut sending => {
            let response = reading.await;
            match (sent, response) {
                (Ok(()), response) => Ok((response?, true)),
                (Err(_), Ok(response)) => Ok((response, false)),
                (Err(error), Err(_)) => Err(error),
            }
        }
        response = &mut reading => Ok((response?, false)),
    }
}

/// Sends a body in a few packets of odd lengths and a last one, so that it does not arrive in one read.
async fn send_in_pieces(connection: &RawConnection, body: &[u8]) -> std::io::Result<()> {
    let mut rest = body;
    for length in [1, 7, 101] {
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        connection.send(piece).await?;
        tokio::task::yield_now().await;
        rest = behind;
    }
    connection.send(rest).await
}
