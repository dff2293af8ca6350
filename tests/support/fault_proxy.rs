//! A TCP proxy on a loopback address that can do what networks do to connections.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use functions_host::port;

/// What happens to connections.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// All goes through at once.
    Pass,
    /// What the server says arrives later by this much, what is on its way when that ends included.
    Delay(Duration),
    /// Connections end with a reset, new ones as soon as they are there.
    Reset,
    /// Nothing goes through and nothing ends. Connections that were there meanwhile stay silent for ever, as when a
    /// firewall has forgotten them.
    BlackHole,
    /// Connections end with a reset, new ones are refused.
    Refuse,
}

/// The proxy; it ends with all its connections when dropped.
#[derive(Debug)]
pub(crate) struct FaultProxy {
    address: SocketAddr,
    target: Arc<AtomicU16>,
    mode: watch::Sender<Mode>,
}

impl FaultProxy {
    /// A proxy on a free port of 127.0.0.1 to a port of 127.0.0.1.
    pub(crate) fn start(target: u16) -> Self {
        Self::start_on((Ipv4Addr::LOCALHOST, port::free()).into(), target)
    }

    /// The same on a certain loopback address.
    ///
    /// # Panics
    ///
    /// If something listens there already.
    pub(crate) fn start_on(address: SocketAddr, target: u16) -> Self {
        let listener = std::net::TcpListener::bind(address).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let target = Arc::new(AtomicU16::new(target));
        let (mode, modes) = watch::channel(Mode::Pass);
        let serving = serve(listener, target.clone(), modes);
        // A thread of its own: what passes must not wait for the tests' own work.
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        std::thread::spawn(move || runtime.block_on(serving));
        Self {
            address,
            target,
            mode,
        }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where it listens.
    pub(crate) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// Lets everything through.
    pub(crate) fn pass(&self) {
        self.mode.send_replace(Mode::Pass);
    }

    /// Delays the server's replies.
    pub(crate) fn delay(&self, by: Duration) {
        self.mode.send_replace(Mode::Delay(by));
    }

    /// Resets all connections, now and from now on.
    pub(crate) fn reset(&self) {
        self.mode.send_replace(Mode::Reset);
    }

    /// Swallows everything; only connections made after its end work again.
    pub(crate) fn black_hole(&self) {
        self.mode.send_replace(Mode::BlackHole);
    }

    /// Resets all connections and refuses new ones.
    pub(crate) fn refuse(&self) {
        self.mode.send_replace(Mode::Refuse);
    }

    /// New connections lead to another port of 127.0.0.1.
    pub(crate) fn lead_to(&self, target: u16) {
        self.target.store(target, Ordering::Relaxed);
    }
}

async fn serve(
    first: std::net::TcpListener,
    target: Arc<AtomicU16>,
    mut modes: watch::Receiver<Mode>,
) {
    let first = TcpListener::from_std(first).expect("a listening socket");
    let address = first.local_addr().expect("a bound socket");
    let fates = modes.clone();
    let mut connections = JoinSet::new();
    let mut listener = Some(first);
    loop {
        let open = match listener.take() {
            Some(open) => open,
            None => TcpListener::bind(address).await.expect("its own port"),
        };
        loop {
            tokio::select! {
                refuse = modes.wait_for(|mode| *mode == Mode::Refuse) => match refuse {
                    Ok(_) => break,
                    Err(_) => return,
                },
                accepted = open.accept() => if let Ok((client, _)) = accepted {
                    let to = (Ipv4Addr::LOCALHOST, target.load(Ordering::Relaxed)).into();
                    connections.spawn(connection(client, to, fates.clone()));
                },
            }
            while connections.try_join_next().is_some() {}
        }
        drop(open);
        if modes.wait_for(|mode| *mode != Mode::Refuse).await.is_err() {
            return;
        }
    }
}

async fn connection(mut client: TcpStream, target: SocketAddr, mut modes: watch::Receiver<Mode>) {
    // Dropped without more ado, a socket says so with a reset.
    let _ = client.set_zero_linger();
    let _ = client.set_nodelay(true);
    let fate = modes.clone();
    let relayed = async {
        if let Ok(mut server) = TcpStream::connect(target).await {
            let _ = server.set_nodelay(true);
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            tokio::join!(
                pump(from_client, to_server, None),
                pump(from_server, to_client, Some(fate))
            );
        }
    };
    tokio::pin!(relayed);
    let is_end = |mode: &Mode| matches!(mode, Mode::Reset | Mode::Refuse | Mode::BlackHole);
    let end = tokio::select! {
        biased;
        mode = modes.wait_for(is_end) => mode.ok().map(|mode| *mode),
        () = &mut relayed => return,
    };
    if end == Some(Mode::BlackHole) {
        // Holds the sockets and moves nothing, until a side resets or the proxy ends.
        let _ = modes
            .wait_for(|mode| matches!(mode, Mode::Reset | Mode::Refuse))
            .await;
    }
}

/// Moves bytes, each piece after the delay that holds when it arrives; passes the end on.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, modes: Option<watch::Receiver<Mode>>) {
    let (pieces, mut queue) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let reading = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let delay = match modes.as_ref().map(|modes| *modes.borrow()) {
                Some(Mode::Delay(delay)) => delay,
                _ => Duration::ZERO,
            };
            let _ = pieces.send((Instant::now() + delay, buffer[..count].to_vec()));
        }
    };
    let writing = async {
        while let Some((due, piece)) = queue.recv().await {
            // Even a sleep until now takes a millisecond, and a busy connection has none to spare.
            if due > Instant::now() {
                sleep_until(due).await;
            }
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::time::timeout;

    use super::*;
    use functions_host::PATIENCE;

    /// Nothing comes within this time where nothing comes at all.
    const SOON: Duration = Duration::from_millis(150);

    /// Answers every piece with `name` and the piece.
    async fn echo(name: &'static str) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port::free()))
            .await
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = [0; 100];
                    while let Ok(count @ 1..) = client.read(&mut buffer).await {
                        let said = [name.as_bytes(), &buffer[..count]].concat();
                        client.write_all(&said).await.unwrap();
                    }
                });
            }
        });
        port
    }

    async fn ask(client: &mut TcpStream) -> std::io::Result<String> {
        ask_within(client, PATIENCE).await
    }

    async fn ask_within(client: &mut TcpStream, limit: Duration) -> std::io::Result<String> {
        client.write_all(b"?").await?;
        let mut buffer = [0; 100];
        match timeout(limit, client.read(&mut buffer)).await {
            Ok(Ok(0)) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => Ok(String::from_utf8_lossy(&buffer[..count?]).into_owned()),
            Err(_) => Err(ErrorKind::TimedOut.into()),
        }
    }

    async fn connect(proxy: &FaultProxy) -> std::io::Result<TcpStream> {
        TcpStream::connect((proxy.ip(), proxy.port())).await
    }

    #[tokio::test]
    async fn passes_and_leads_elsewhere() {
        let proxy = FaultProxy::start(echo("a").await);
        let mut old = connect(&proxy).await.unwrap();
        assert_eq!(ask(&mut old).await.unwrap(), "a?");
        proxy.lead_to(echo("b").await);
        let mut new = connect(&proxy).await.unwrap();
        assert_eq!(ask(&mut new).await.unwrap(), "b?");
        assert_eq!(ask(&mut old).await.unwrap(), "a?");
    }

    #[tokio::test]
    async fn delays_replies() {
        let proxy = FaultProxy::start(echo("a").await);
        let mut client = connect(&proxy).await.unwrap();
        proxy.delay(Duration::from_millis(60));
        let start = Instant::now();
        assert_eq!(ask(&mut client).await.unwrap(), "a?");
        assert!(start.elapsed() >= Duration::from_millis(60));
        proxy.pass();
        assert_eq!(ask(&mut client).await.unwrap(), "a?");
    }

    #[tokio::test]
    async fn resets_and_refuses() {
        let proxy = FaultProxy::start(echo("a").await);
        let mut client = connect(&proxy).await.unwrap();
        assert_eq!(ask(&mut client).await.unwrap(), "a?");
        proxy.reset();
        assert_eq!(
            client.read(&mut [0]).await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        // The reset may come before or after the client knows that it is connected.
        if let Ok(mut new) = connect(&proxy).await {
            assert!(ask(&mut new).await.is_err());
        }
        proxy.refuse();
        let give_up = Instant::now() + PATIENCE;
        while !matches!(connect(&proxy).await, Err(error) if error.kind() == ErrorKind::ConnectionRefused)
        {
            assert!(Instant::now() < give_up, "it still listens");
        }
        proxy.pass();
        let mut last = loop {
            match connect(&proxy).await {
                Ok(client) => break client,
                Err(error) => assert!(Instant::now() < give_up, "{error}"),
            }
        };
        assert_eq!(ask(&mut last).await.unwrap(), "a?");
    }

    #[tokio::test]
    async fn swallows_for_ever_what_was_there() {
        let proxy = FaultProxy::start(echo("a").await);
        let mut before = connect(&proxy).await.unwrap();
        assert_eq!(ask(&mut before).await.unwrap(), "a?");
        proxy.black_hole();
        let mut meanwhile = connect(&proxy).await.unwrap();
        for client in [&mut before, &mut meanwhile] {
            let silence = ask_within(client, SOON).await.unwrap_err();
            assert_eq!(silence.kind(), ErrorKind::TimedOut);
        }
        proxy.pass();
        for client in [&mut before, &mut meanwhile] {
            let silence = ask_within(client, SOON).await.unwrap_err();
            assert_eq!(silence.kind(), ErrorKind::TimedOut);
        }
        let mut after = connect(&proxy).await.unwrap();
        assert_eq!(ask(&mut after).await.unwrap(), "a?");
    }
}
