//! The host's HTTP client: keep-alive connections to one port, requests sent byte for byte as given.

use std::io::ErrorKind;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::answer::Answer;
use super::http1::{RawConnection, RawResponse};

/// After this long unused the host closes a connection.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// Why a request had no answer.
#[derive(Debug)]
pub(crate) enum Failure {
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
pub(crate) struct Request {
    /// Request line and headers, with the empty line.
    pub(crate) head: Vec<u8>,
    /// The body with its transfer coding.
    pub(crate) body: Vec<u8>,
}

/// A pool of connections to one port of 127.0.0.1.
#[derive(Debug)]
pub(crate) struct Client {
    port: u16,
    limit: Duration,
    idle: Mutex<Vec<(RawConnection, Instant)>>,
}

impl Client {
    /// A client without connections; a request fails after `limit`.
    pub(crate) fn new(port: u16, limit: Duration) -> Self {
        Self {
            port,
            limit,
            idle: Mutex::default(),
        }
    }

    /// Sends one request and reads its answer.
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer, Failure> {
        timeout(self.limit, self.send_unlimited(request))
            .await
            .unwrap_or(Err(Failure::TimedOut))
    }

    /// The same with up to ten more tries if there is no connection, as a host that proxies does.
    pub(crate) async fn send_persistently(&self, request: &Request) -> Result<Answer, Failure> {
        for retry in 0..10 {
            match self.send(request).await {
                Err(Failure::Connect(_)) => sleep(Duration::from_millis(50 + 20 * retry)).await,
                other => return other,
            }
        }
        self.send(request).await
    }

    /// Closes all idle connections.
    pub(crate) fn forget_connections(&self) {
        self.idle().clear();
    }

    async fn send_unlimited(&self, request: &Request) -> Result<Answer, Failure> {
        let reused = self.take_idle();
        let is_reused = reused.is_some();
        let connection = match reused {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        match self.exchange(connection, request).await {
            // only a request without a body may be sent again when an idle connection turns out to be closed
            Err(error)
                if is_reused
                    && request.body.is_empty()
                    && error.kind() == ErrorKind::ConnectionAborted =>
            {
                self.exchange(self.connect().await?, request).await
            }
            other => other,
        }
        .map_err(Failure::Transport)
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
