//! Bodies in both directions: back-pressure, expectations, early answers, stalls and cuts.

use std::{
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use pierhead::server::exchange::Ending;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::wire::rig::{Plan, Rig, everything, hasty, status, stuff, until};

const MIB: u64 = 1 << 20;

/// What kernels and windows may hold between the two ends.
const IN_FLIGHT: u64 = 16 * MIB;

#[tokio::test]
async fn continue_is_sent_when_the_body_is_asked_for_and_only_then() {
    let rig = Rig::start(Plan::default());
    let mut stream = rig.plain().await;
    let request = "POST /count HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").await.unwrap();
    let answer = until(&mut stream, "\r\n\r\n3").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: keep-alive"), "the body was read whole: {answer}");

    let answer = rig.say(request.replace("/count", "/deny")).await;
    assert!(status(&answer) == 401 && !answer.contains("100 Continue"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let rig = Rig::start(Plan::secure());
    for _ in 0..5 {
        let mut stream = rig.secure(rig.client()).await.unwrap();
        let size = 10 * MIB;
        let head = format!("PUT /deny HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; usize::try_from(size).unwrap()]).await.unwrap();
        let answer = everything(&mut stream).await;
        assert!(status(&answer) == 401 && answer.ends_with("denied"), "{answer}");
    }
}

#[tokio::test]
async fn a_small_unread_body_costs_no_connection() {
    let rig = Rig::start(Plan::default());
    let mut stream = rig.plain().await;
    for _ in 0..3 {
        stream.write_all(b"PUT /deny HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n").await.unwrap();
        stream.write_all(&[b'x'; 5000]).await.unwrap();
        assert_eq!(status(&until(&mut stream, "denied").await), 401);
    }
}

#[tokio::test]
async fn an_unread_body_is_never_taken_for_a_request() {
    let rig = Rig::start(Plan { deadlines: hasty(), ..Plan::default() });
    let inner = "GET /panic HTTP/1.1\r\nHost: a\r\n\r\n";
    let request = format!(
        "PUT /deny HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{inner}GET /ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        inner.len()
    );
    let answer = rig.say(request).await;
    assert!(answer.contains("denied") && answer.ends_with("\r\n\r\nok"), "{answer}");
    let chunked = format!(
        "PUT /deny HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n",
        inner.len()
    );
    assert!(rig.say(chunked).await.ends_with("denied"));
    assert_eq!(rig.probe.requests.load(SeqCst), 3);
}

#[tokio::test]
async fn a_handler_that_does_not_ask_is_not_sent_to() {
    let rig = Rig::start(Plan::default());
    let mut stream = rig.plain().await;
    stream
        .write_all(format!("PUT /hold HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 256 * MIB).as_bytes())
        .await
        .unwrap();
    let taken = stuff(&mut stream, usize::try_from(64 * MIB).unwrap()).await as u64;
    assert!(taken < IN_FLIGHT, "{taken} bytes were taken");
}

#[tokio::test]
async fn our_own_waiting_is_not_held_against_the_client() {
    let rig = Rig::start(Plan { deadlines: hasty(), ..Plan::default() });
    let answer =
        rig.say("POST /doze/1500 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc").await;
    assert!(status(&answer) == 200 && answer.ends_with("\r\n\r\n3"), "{answer}");
}

#[tokio::test]
async fn a_reader_that_is_slow_slows_the_source() {
    let rig = Rig::start(Plan::default());
    let mut stream = rig.plain().await;
    stream
        .write_all(format!("GET /big/{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 256 * MIB).as_bytes())
        .await
        .unwrap();
    until(&mut stream, "\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let produced = rig.probe.produced.load(SeqCst);
    assert!(produced < IN_FLIGHT, "{produced} bytes were produced");
    let mut rest = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => break,
            count => rest += count as u64,
        }
    }
    assert!(rest > 255 * MIB, "{rest}");
}

#[tokio::test]
async fn a_reader_that_stalls_is_cut() {
    let rig = Rig::start(Plan { deadlines: hasty(), ..Plan::default() });
    let mut stream = rig.plain().await;
    stream.write_all(format!("GET /big/{} HTTP/1.1\r\nHost: a\r\n\r\n", 256 * MIB).as_bytes()).await.unwrap();
    rig.probe.until("the stalled reader's end", |probe| !probe.endings.lock().unwrap().is_empty()).await;
    assert_eq!(rig.probe.endings.lock().unwrap()[0].1, Ending::Disconnected);

    let rig = Rig::start(Plan { deadlines: hasty(), ..Plan::secure() });
    let mut client = rig.http2().await;
    let request = Request::get(format!("https://localhost/big/{}", 256 * MIB)).body(()).unwrap();
    let unread = client.send_request(request, true).unwrap().0.await.unwrap();
    rig.probe.until("the stalled stream's end", |probe| !probe.endings.lock().unwrap().is_empty()).await;
    assert_eq!(rig.probe.endings.lock().unwrap()[0].1, Ending::Disconnected);
    // Its bytes fill the connection's window until they are given up.
    drop(unread);
    assert_eq!(http2_get(&mut client, "/ok").await, (200, 2));
}

#[tokio::test]
async fn a_body_that_stalls_or_drips_times_out_and_is_answered() {
    let rig = Rig::start(Plan { deadlines: hasty(), ..Plan::default() });
    let begun = Instant::now();
    let answer = rig.say("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").await;
    assert!(status(&answer) == 408 && answer.ends_with("TimedOut"), "{answer}");

    let mut stream = rig.plain().await;
    stream.write_all(b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n").await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let drip = async {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        std::future::pending::<()>().await;
    };
    let answer = tokio::select! {
        answer = everything(&mut reader) => answer,
        () = drip => unreachable!(),
    };
    assert!(status(&answer) == 408 && answer.ends_with("TimedOut"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(6));
}

#[tokio::test]
async fn a_client_that_leaves_and_broken_chunks_are_told_apart() {
    let rig = Rig::start(Plan::default());
    let answer = rig.say("POST /count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").await;
    assert!(answer.ends_with("Malformed"), "{answer}");
    let mut stream = rig.plain().await;
    stream.write_all(b"POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = everything(&mut stream).await;
    assert!(answer.ends_with("Disconnected"), "{answer}");
}

#[tokio::test]
async fn a_body_that_fails_resets_http1() {
    let rig = Rig::start(Plan::default());
    for path in ["short", "long", "broken"] {
        let mut stream = rig.plain().await;
        stream.write_all(format!("GET /{path}/1000000 HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let end = stream.read_to_end(&mut bytes).await;
        assert!(end.is_err(), "{path} ended cleanly after {} bytes", bytes.len());
        assert!(bytes.len() < 1_000_000, "{path}");
    }
    assert!(rig.probe.endings.lock().unwrap().iter().all(|(_, ending)| *ending == Ending::Cut));
}

#[tokio::test]
async fn a_body_that_fails_resets_its_http2_stream_only() {
    let rig = Rig::start(Plan::secure());
    let mut client = rig.http2().await;
    for path in ["short", "broken"] {
        let request = Request::get(format!("https://localhost/{path}/200000")).body(()).unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        let mut failed = false;
        while let Some(chunk) = body.data().await {
            match chunk {
                Ok(chunk) => body.flow_control().release_capacity(chunk.len()).unwrap(),
                Err(error) => {
                    failed = error.is_reset();
                    break;
                }
            }
        }
        assert!(failed, "{path}");
    }
    assert_eq!(http2_get(&mut client, "/ok").await, (200, 2));
}

#[tokio::test]
async fn head_keeps_the_length_and_sends_nothing() {
    let rig = Rig::start(Plan::secure());
    let mut stream = rig.secure(rig.client()).await.unwrap();
    stream
        .write_all(
            b"HEAD /big/5000 HTTP/1.1\r\nHost: a\r\n\r\nGET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
        .await
        .unwrap();
    let answer = everything(&mut stream).await;
    let (first, second) = answer.split_once("\r\n\r\n").unwrap();
    assert!(first.to_lowercase().contains("content-length: 5000"), "{answer}");
    assert!(second.starts_with("HTTP/1.1 204") && second.ends_with("\r\n\r\n"), "{answer}");
    assert!(!second.to_lowercase().contains("content-length"), "{answer}");

    let mut client = rig.http2().await;
    let request = Request::head("https://localhost/big/5000").body(()).unwrap();
    let answer = client.send_request(request, true).unwrap().0.await.unwrap();
    assert_eq!(answer.headers()["content-length"], "5000");
    assert!(answer.into_body().is_end_stream());
}

async fn http2_get(client: &mut h2::client::SendRequest<Bytes>, path: &str) -> (u16, u64) {
    let request = Request::get(format!("https://localhost{path}")).body(()).unwrap();
    let answer = client.send_request(request, true).unwrap().0.await.unwrap();
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut count = 0;
    while let Some(chunk) = body.data().await {
        let chunk = chunk.unwrap();
        body.flow_control().release_capacity(chunk.len()).unwrap();
        count += chunk.len() as u64;
    }
    (status, count)
}

/// Sends as much of `size` bytes as the server's window allows within half a second of silence.
async fn http2_send(stream: &mut h2::SendStream<Bytes>, size: u64) -> u64 {
    let mut sent = 0;
    while sent < size {
        stream.reserve_capacity(64 << 10);
        let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx));
        let Ok(Some(Ok(count))) = tokio::time::timeout(Duration::from_millis(500), capacity).await else {
            break;
        };
        let count = (count as u64).min(size - sent);
        sent += count;
        stream.send_data(Bytes::from(vec![b'x'; usize::try_from(count).unwrap()]), sent == size).unwrap();
    }
    sent
}

#[tokio::test]
async fn http2_moves_big_bodies_both_ways_with_back_pressure() {
    let rig = Rig::start(Plan::secure());
    let mut client = rig.http2().await;
    let size = 32 * MIB;
    let request = Request::put("https://localhost/count").body(()).unwrap();
    let (answer, mut stream) = client.send_request(request, false).unwrap();
    assert_eq!(http2_send(&mut stream, size).await, size);
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(rig.probe.received.load(SeqCst), size);

    let request = Request::put("https://localhost/hold").body(()).unwrap();
    let (held, mut stream) = client.send_request(request, false).unwrap();
    assert!(http2_send(&mut stream, size).await <= 2 * MIB);
    rig.probe.release.notify_one();
    assert_eq!(held.await.unwrap().status(), 200);

    let request = Request::get(format!("https://localhost/big/{size}")).body(()).unwrap();
    let unread = client.send_request(request, true).unwrap().0.await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let produced = rig.probe.produced.load(SeqCst);
    assert!(produced <= 2 * MIB, "{produced}");
    drop(unread);
    assert_eq!(http2_get(&mut client, &format!("/big/{size}")).await, (200, size));
}

#[tokio::test]
async fn http2_answers_early_and_times_out_a_stalled_body() {
    let rig = Rig::start(Plan { deadlines: hasty(), ..Plan::secure() });
    let mut client = rig.http2().await;
    let request = Request::put("https://localhost/deny").body(()).unwrap();
    let (answer, mut stream) = client.send_request(request, false).unwrap();
    http2_send(&mut stream, 10 * MIB).await;
    assert_eq!(answer.await.unwrap().status(), 401);

    let request = Request::put("https://localhost/count").body(()).unwrap();
    let (answer, mut stream) = client.send_request(request, false).unwrap();
    stream.send_data(Bytes::from_static(b"abc"), false).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(5), answer).await.unwrap().unwrap();
    assert_eq!(answer.status(), 408);
}

#[tokio::test]
async fn a_panic_is_one_500() {
    let rig = Rig::start(Plan::secure());
    let mut client = rig.http2().await;
    assert_eq!(http2_get(&mut client, "/panic").await.0, 500);
    assert_eq!(http2_get(&mut client, "/ok").await, (200, 2));
}
