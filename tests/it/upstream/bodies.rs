//! Bodies through the front: streamed both ways, cut where the other side cuts, and given up when nobody wants them.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::upstream::{
    front::Front,
    scripted::{PATIENCE, Upstream, connect, everything, fields, say},
};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_body_goes_on_as_it_comes() {
    let mut upstream = Upstream::start().await;
    let front = Front::before(&upstream);
    for (framing, first, second, end) in [
        ("Content-Length: 6", "abc", "def", ""),
        ("Transfer-Encoding: chunked", "3\r\nabc\r\n", "3\r\ndef\r\n", "0\r\n\r\n"),
    ] {
        let mut client = connect(front.address()).await;
        let head = format!("PATCH /v2/x HTTP/1.1\r\nHost: r\r\nConnection: close\r\n{framing}\r\n\r\n{first}");
        client.write_all(head.as_bytes()).await.unwrap();
        let (mut caller, head) = upstream.asked().await;
        assert!(fields(&head).contains(&framing.to_lowercase()), "{head}");
        // The first half is there before the second was sent.
        assert_eq!(caller.body(first.len()).await, first.as_bytes());
        client.write_all(second.as_bytes()).await.unwrap();
        client.write_all(end.as_bytes()).await.unwrap();
        assert_eq!(caller.body(second.len() + end.len()).await, format!("{second}{end}").as_bytes());
        caller.say("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        let (answer, _) = everything(&mut client).await;
        assert!(answer.starts_with(b"HTTP/1.1 202 "), "{}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn an_upload_without_a_body_says_so() {
    let mut upstream = Upstream::start().await;
    let front = Front::before(&upstream);
    for method in ["POST", "PUT", "PATCH"] {
        let (address, method) = (front.address(), method.to_owned());
        let client = tokio::spawn(async move {
            let head = format!("{method} /v2/x HTTP/1.1\r\nHost: r\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            say(address, &head).await
        });
        let (mut caller, head) = upstream.asked().await;
        assert!(fields(&head).contains(&"content-length: 0".to_owned()), "{head}");
        caller.say("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        assert!(client.await.unwrap().starts_with("HTTP/1.1 202 "));
    }
}

/// An answer that is not whole must not look whole, however it is framed.
#[tokio::test]
async fn an_answer_that_is_cut_ends_in_a_reset() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nffff\r\nabc",
    ] {
        for version in ["1.1", "1.0"] {
            let mut upstream = Upstream::start().await;
            let front = Front::before(&upstream);
            let mut client = connect(front.address()).await;
            client.write_all(format!("GET /v2/x HTTP/{version}\r\nHost: r\r\n\r\n").as_bytes()).await.unwrap();
            let (mut caller, _) = upstream.asked().await;
            caller.say(answer).await;
            drop(caller);
            let (got, clean) = everything(&mut client).await;
            assert!(!clean, "HTTP/{version}: a clean end of {:?}", String::from_utf8_lossy(&got));
            assert!(!got.ends_with(b"0\r\n\r\n"));
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_with_it() {
    let mut upstream = Upstream::start().await;
    let front = Front::before(&upstream);
    // While the upstream thinks.
    let mut client = connect(front.address()).await;
    client.write_all(b"GET /v2/x HTTP/1.1\r\nHost: r\r\n\r\n").await.unwrap();
    let (mut caller, _) = upstream.asked().await;
    drop(client);
    assert_eq!(caller.rest().await, b"");
    // While it answers, and then has nothing more to say.
    let mut client = connect(front.address()).await;
    client.write_all(b"GET /v2/x HTTP/1.1\r\nHost: r\r\n\r\n").await.unwrap();
    let (mut caller, _) = upstream.asked().await;
    caller.say("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nabc").await;
    // What came is passed on before there is more.
    assert_eq!(read(&mut client, 3).await, b"abc");
    drop(client);
    assert_eq!(caller.rest().await, b"");
    front.await_metric("pierhead_upstream_requests_total", &["abandoned"], |count| count >= 2.0).await;
    front.await_metric("pierhead_upstream_in_flight_requests", &[], |count| count == 0.0).await;
}

/// So many bytes, and no more.
async fn exactly(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.expect("nothing came").unwrap();
    bytes
}

/// A head, and so many bytes of the body behind it.
async fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(exactly(stream, 1).await);
    }
    exactly(stream, length).await
}

/// Half an upload must not become a whole one.
#[tokio::test]
async fn an_upload_that_is_cut_is_cut_behind_us_as_well() {
    for (framing, begun) in [("Content-Length: 1000", "abc"), ("Transfer-Encoding: chunked", "3\r\nabc\r\n")] {
        let mut upstream = Upstream::start().await;
        let front = Front::before(&upstream);
        let mut client = connect(front.address()).await;
        let head = format!("PATCH /v2/x HTTP/1.1\r\nHost: r\r\n{framing}\r\n\r\n{begun}");
        client.write_all(head.as_bytes()).await.unwrap();
        let (mut caller, _) = upstream.asked().await;
        assert_eq!(caller.body(begun.len()).await, begun.as_bytes());
        drop(client);
        assert_eq!(caller.rest().await, b"", "no last chunk, and no more bytes");
    }
}

#[tokio::test]
async fn an_expectation_is_the_upstreams_to_answer() {
    let mut upstream = Upstream::start().await;
    let front = Front::before(&upstream);
    let head = "PUT /v2/x HTTP/1.1\r\nHost: r\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    // It refuses, and the body is never asked for.
    let mut client = connect(front.address()).await;
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut caller, seen) = upstream.asked().await;
    assert!(fields(&seen).contains(&"expect: 100-continue".to_owned()), "{seen}");
    caller.say("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno").await;
    let (answer, _) = everything(&mut client).await;
    assert!(answer.starts_with(b"HTTP/1.1 401 ") && answer.ends_with(b"no"), "{}", String::from_utf8_lossy(&answer));
    // It wants the body.
    let mut client = connect(front.address()).await;
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut caller, _) = upstream.asked().await;
    caller.say("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(exactly(&mut client, 25).await, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"abc").await.unwrap();
    assert_eq!(caller.body(3).await, b"abc");
    caller.say("HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    assert_eq!(exactly(&mut client, 12).await, b"HTTP/1.1 201");
    // It says nothing, as those do that know no expectations.
    let mut client = connect(front.address()).await;
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut caller, _) = upstream.asked().await;
    assert_eq!(exactly(&mut client, 25).await, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"abc").await.unwrap();
    assert_eq!(caller.body(3).await, b"abc");
}

/// An upstream that has heard enough answers before the body is over; its answer arrives whole.
#[tokio::test]
async fn an_early_answer_ends_an_upload() {
    let mut upstream = Upstream::start().await;
    let front = Front::before(&upstream);
    let mut client = connect(front.address()).await;
    client.write_all(b"PATCH /v2/x HTTP/1.1\r\nHost: r\r\nContent-Length: 100000000\r\n\r\nabc").await.unwrap();
    let (mut caller, _) = upstream.asked().await;
    assert_eq!(caller.body(3).await, b"abc");
    caller.say("HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nunknown").await;
    let (answer, _) = everything(&mut client).await;
    assert!(answer.starts_with(b"HTTP/1.1 404 ") && answer.ends_with(b"unknown"));
    // The connection that carried half a request carries no other.
    assert_eq!(caller.rest().await, b"");
}

/// Neither side can make the front hold what the other does not take.
#[tokio::test]
async fn a_slow_side_slows_the_other() {
    const SENT: usize = 256 * MIB;
    let mut upstream = Upstream::start().await;
    let front = Front::before(&upstream);
    // An upload that the upstream does not take.
    let mut client = connect(front.address()).await;
    let head = format!("PATCH /v2/x HTTP/1.1\r\nHost: r\r\nContent-Length: {SENT}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let (caller, _) = upstream.asked().await;
    let sent = stuff(&mut client, SENT).await;
    assert!(sent < 32 * MIB, "{sent} bytes went into the front");
    drop((client, caller));
    // A download that the client does not take.
    let mut client = connect(front.address()).await;
    client.write_all(b"GET /v2/x HTTP/1.1\r\nHost: r\r\n\r\n").await.unwrap();
    let (mut caller, _) = upstream.asked().await;
    caller.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {SENT}\r\n\r\n")).await;
    let sent = stuff(&mut caller.stream, SENT).await;
    assert!(sent < 32 * MIB, "{sent} bytes went into the front");
    let peak = front.registry.usage().resident_peak_kib;
    assert!(peak < 64 << 10, "{peak} KiB");
}

/// Writes until the other side takes no more for a while; the bytes written.
async fn stuff(stream: &mut (impl tokio::io::AsyncWrite + Unpin), limit: usize) -> usize {
    let chunk = vec![b'y'; 64 << 10];
    let mut total = 0;
    while total < limit {
        match timeout(Duration::from_secs(2), stream.write(&chunk)).await {
            Ok(Ok(count)) => total += count,
            Ok(Err(_)) | Err(_) => break,
        }
    }
    total
}

/// Many bytes both ways, and little memory.
#[tokio::test]
async fn bodies_take_little_memory() {
    const LENGTH: usize = 192 * MIB;
    const PEAK_MAX_KIB: u64 = 48 << 10;
    let mut upstream = Upstream::start().await;
    let front = Front::before(&upstream);
    let chunk = vec![b'z'; MIB];
    let mut client = connect(front.address()).await;
    let head = format!("PUT /v2/x HTTP/1.1\r\nHost: r\r\nContent-Length: {LENGTH}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut caller, _) = upstream.asked().await;
    let send = async {
        for _ in 0..LENGTH / MIB {
            client.write_all(&chunk).await.unwrap();
        }
    };
    let take = async {
        for _ in 0..LENGTH / MIB {
            assert!(caller.body(MIB).await == chunk);
        }
    };
    timeout(2 * PATIENCE, async { tokio::join!(send, take) }).await.expect("an upload");
    caller.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n")).await;
    let send = async {
        for _ in 0..LENGTH / MIB {
            caller.stream.write_all(&chunk).await.unwrap();
        }
    };
    let take = async {
        let mut answer = vec![0; 8 * MIB];
        let mut got = 0;
        while got < LENGTH {
            let count = client.read(&mut answer).await.unwrap();
            assert!(count > 0, "closed after {got}");
            got += count;
        }
    };
    timeout(2 * PATIENCE, async { tokio::join!(send, take) }).await.expect("a download");
    let peak = front.registry.usage().resident_peak_kib;
    println!("{} MiB up and down: peak resident {peak} KiB", LENGTH / MIB);
    assert!(peak < PEAK_MAX_KIB, "{peak} KiB");
}
