//! Framing of requests and responses.

use super::*;

#[test]
fn chunks_are_cut_at_odd_positions() {
    assert_eq!(chunked(b""), b"0\r\n\r\n");
    assert_eq!(
        chunked(b"abcdef"),
        b"1\r\na\r\n3\r\nbcd\r\n2\r\nef\r\n0\r\n\r\n"
    );
}

async fn served(response: &'static [u8], is_head: bool) -> Result<RawResponse> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let peer = RawConnection {
            stream,
            pending: Mutex::default(),
        };
        peer.receive().await.unwrap();
        let pieces: Vec<&[u8]> = response.chunks(3).collect();
        peer.send_pieces(&pieces, Duration::ZERO).await.unwrap();
    });
    let connection = RawConnection::open(port).await.unwrap();
    connection
        .send(&head("GET", "/", &[("Host", "x")]))
        .await
        .unwrap();
    let response = connection.read_response(is_head).await;
    server.await.unwrap();
    response
}

#[tokio::test]
async fn reads_bodies_of_every_framing() {
    let sized = served(
        b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
        false,
    );
    let sized = sized.await.unwrap();
    assert_eq!(
        (sized.answer.status, sized.answer.text().as_str()),
        (201, "hello")
    );
    assert_eq!(sized.answer.header("x-a"), Some("b"));
    assert!(sized.keeps_alive && !sized.is_chunked);

    let coded = served(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n", false);
    let coded = coded.await.unwrap();
    assert_eq!(coded.answer.text(), "abcde");
    assert!(coded.is_chunked);

    let open = served(b"HTTP/1.0 200 OK\r\n\r\nuntil the end", false)
        .await
        .unwrap();
    assert_eq!(open.answer.text(), "until the end");
    assert!(!open.keeps_alive);

    let interim = served(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        false,
    )
    .await;
    assert_eq!(interim.unwrap().answer.status, 204);

    let head_only = served(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", true)
        .await
        .unwrap();
    assert_eq!(head_only.answer.body, b"");
}

#[tokio::test]
async fn tells_apart_no_answer_and_half_an_answer() {
    let none = served(b"", false).await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::ConnectionAborted);
    let half = served(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", false)
        .await
        .unwrap_err();
    assert_eq!(half.kind(), ErrorKind::UnexpectedEof);
}
