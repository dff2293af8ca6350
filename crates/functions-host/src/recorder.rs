//! A handler that notes what it gets, byte for byte, and answers what a test has said.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::eventually;
use super::recording::{Reply, Request};

/// What the probe of a host gets, and each request that no reply is left for.
pub const OK: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"ok\":true}";

/// Listens on a port until it is dropped or stopped.
#[derive(Debug)]
pub struct Recorder {
    port: u16,
    noted: Arc<Noted>,
    serving: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Noted {
    requests: Mutex<Vec<Request>>,
    probes: Mutex<Vec<Request>>,
    replies: Mutex<Vec<Reply>>,
    /// Connections that were opened.
    connections: AtomicUsize,
    /// Connections that the host closed while an answer was held.
    abandoned: AtomicUsize,
    /// Bytes of bodies.
    received: AtomicUsize,
}

impl Recorder {
    /// Starts to listen; replies are given in order, the last one again and again.
    ///
    /// # Panics
    ///
    /// If the port is taken.
    pub async fn start(port: u16, mut replies: Vec<Reply>) -> Self {
        replies.reverse();
        let mut recorder = Self {
            port,
            noted: Arc::new(Noted {
                replies: Mutex::new(replies),
                ..Noted::default()
            }),
            serving: JoinSet::new(),
        };
        recorder.listen().await;
        recorder
    }

    /// Ends all connections and refuses new ones, as a process that has ended.
    pub async fn stop(&mut self) {
        self.serving.shutdown().await;
    }

    /// Listens again.
    ///
    /// # Panics
    ///
    /// If the port is taken.
    pub async fn listen(&mut self) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await;
        let listener = listener.expect("a free port");
        let noted = Arc::clone(&self.noted);
        self.serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                noted.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve(stream, Arc::clone(&noted)));
            }
        });
    }

    /// What came in, without probes.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.noted.requests).clone()
    }

    /// The probes for readiness that came in.
    pub fn probes(&self) -> Vec<Request> {
        lock(&self.noted.probes).clone()
    }

    /// How many connections were opened.
    pub fn connections(&self) -> usize {
        self.noted.connections.load(Ordering::SeqCst)
    }

    /// Waits for as many requests.
    ///
    /// # Panics
    ///
    /// If they do not come.
    pub async fn wait_for_requests(&self, count: usize) {
        let have_come = async || lock(&self.noted.requests).len() >= count;
        eventually("that many requests", have_come).await;
    }

    /// Waits until as many bytes of bodies have come.
    ///
    /// # Panics
    ///
    /// If they do not come.
    pub async fn wait_for_body(&self, bytes: usize) {
        let have_come = async || self.noted.received.load(Ordering::SeqCst) >= bytes;
        eventually("that many bytes", have_come).await;
    }

    /// Waits until the host closes a connection whose answer is held.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub async fn wait_until_abandoned(&self) {
        eventually("an abandoned answer", async || self.is_abandoned()).await;
    }

    /// Whether the host has closed a connection whose answer is held.
    pub fn is_abandoned(&self) -> bool {
        self.noted.abandoned.load(Ordering::SeqCst) > 0
    }
}

impl Noted {
    fn next_reply(&self) -> Reply {
        let mut replies = lock(&self.replies);
        match replies.len() {
            0 => Reply::Bytes(OK.to_vec()),
            1 => replies[0].clone(),
            _ => replies.pop().unwrap_or(Reply::Close),
        }
    }
}

async fn serve(stream: TcpStream, noted: Arc<Noted>) {
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading);
    while let Some(request) = read(&mut reading, &noted).await {
        let is_probe = request.head.starts_with("GET / HTTP/1.1\r\n");
        let place = if is_probe {
            &noted.probes
        } else {
            &noted.requests
        };
        lock(place).push(request);
        let reply = if is_probe {
            Reply::Bytes(OK.to_vec())
        } else {
            noted.next_reply()
        };
        match reply {
            Reply::Bytes(answer) => {
                if writing.write_all(&answer).await.is_err() {
                    return;
                }
            }
            Reply::Close => return,
            Reply::Hold => {
                let mut rest = Vec::new();
                let _ = reading.read_to_end(&mut rest).await;
                noted.abandoned.fetch_add(1, Ordering::SeqCst);
                return;
            }
        }
    }
}

async fn read(reader: &mut BufReader<OwnedReadHalf>, noted: &Noted) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let count = reader.read_until(b'\n', &mut head).await.ok()?;
        if count == 0 {
            return None;
        }
    }
    let mut request = Request {
        head: String::from_utf8(head).expect("a head of UTF-8"),
        chunks: Vec::new(),
        body: Vec::new(),
    };
    let header = |name: &str| {
        let mut lines = request
            .head
            .lines()
            .filter_map(|line| line.split_once(": "));
        let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    };
    if header("transfer-encoding").is_none() {
        let length = header("content-length").map_or(0, |length| length.parse().expect("a length"));
        read_into(reader, length, &mut request.body, noted).await?;
        return Some(request);
    }
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await.ok()?;
        let length = usize::from_str_radix(line.trim_end(), 16).ok()?;
        request.chunks.push(line.trim_end().to_owned());
        read_into(reader, length, &mut request.body, noted).await?;
        reader.read_exact(&mut [0; 2]).await.ok()?;
        if length == 0 {
            return Some(request);
        }
    }
}

async fn read_into(
    reader: &mut BufReader<OwnedReadHalf>,
    length: usize,
    body: &mut Vec<u8>,
    noted: &Noted,
) -> Option<()> {
    let mut piece = vec![0; length];
    reader.read_exact(&mut piece).await.ok()?;
    noted.received.fetch_add(length, Ordering::SeqCst);
    body.extend(piece);
    Some(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
