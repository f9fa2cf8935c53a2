//! Blobs on their way out: whole, in ranges, and not at all because the client has them.

use crate::gateway::{Answer, Rig, ask, sha256, sha512};

const CONTENT: &str = "0123456789";

async fn rig() -> (Rig, String) {
    let rig = Rig::open().await;
    let digest = rig.blob("g/app", CONTENT).await;
    (rig, format!("/v2/g/app/blobs/{digest}"))
}

fn check_identity(answer: &Answer, digest: &str) {
    assert_eq!(answer.header("docker-content-digest"), digest);
    assert_eq!(answer.header("etag"), format!("\"{digest}\""));
    assert_eq!(answer.header("cache-control"), "max-age=31536000");
    assert_eq!(answer.header("accept-ranges"), "bytes");
}

#[tokio::test]
async fn whole() {
    let (rig, target) = rig().await;
    let answer = rig.get(&target).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, CONTENT));
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    check_identity(&answer, &sha256(CONTENT.as_bytes()));
    let head = rig.send(ask("HEAD", &target)).await;
    assert_eq!((head.status, head.header("content-length").as_str()), (200, "10"));
    check_identity(&head, &sha256(CONTENT.as_bytes()));
    assert_eq!(head.header("content-type"), "application/octet-stream");
    assert_eq!(head.log.route, Some("blob"));
}

#[tokio::test]
async fn empty_blob() {
    let rig = Rig::open().await;
    let digest = rig.blob("a", "").await;
    let target = format!("/v2/a/blobs/{digest}");
    assert_eq!(rig.get(&target).await.status, 200);
    assert_eq!(rig.send(ask("HEAD", &target)).await.header("content-length"), "0");
    let ranged = rig.send(ask("GET", &target).header("range", "bytes=0-0")).await;
    assert_eq!((ranged.status, ranged.header("content-range").as_str()), (416, "bytes */0"));
}

#[tokio::test]
async fn unknown() {
    let (rig, target) = rig().await;
    let nowhere = format!("/v2/g/app/blobs/{}", sha256(b"nothing"));
    let elsewhere = target.replace("g/app", "g/other");
    for target in [nowhere, elsewhere, target.replace("g/app", "never/pushed")] {
        let answer = rig.get(&target).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "BLOB_UNKNOWN"), "{target}");
        assert!(target.ends_with(answer.json()["errors"][0]["detail"].as_str().unwrap()));
        let head = rig.send(ask("HEAD", &target)).await;
        assert_eq!((head.status, head.body.len()), (404, 0));
    }
}

#[tokio::test]
async fn single_ranges() {
    let (rig, target) = rig().await;
    for (range, place, bytes) in [
        ("bytes=0-0", "bytes 0-0/10", "0"),
        ("bytes=2-4", "bytes 2-4/10", "234"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=7-100", "bytes 7-9/10", "789"),
        ("bytes=-2", "bytes 8-9/10", "89"),
        ("bytes=20-30,4-4", "bytes 4-4/10", "4"),
    ] {
        let answer = rig.send(ask("GET", &target).header("range", range)).await;
        assert_eq!((answer.status, answer.text().as_str()), (206, bytes), "{range}");
        assert_eq!(answer.header("content-range"), place);
        check_identity(&answer, &sha256(CONTENT.as_bytes()));
    }
    for range in ["bytes=10-", "bytes=5-0", "bytes=99-100"] {
        let answer = rig.send(ask("GET", &target).header("range", range)).await;
        assert_eq!((answer.status, answer.header("content-range").as_str()), (416, "bytes */10"), "{range}");
    }
    for range in ["items=0-1", "bytes=x", "bytes"] {
        assert_eq!(rig.send(ask("GET", &target).header("range", range)).await.status, 200, "{range}");
    }
}

#[tokio::test]
async fn several_ranges() {
    let (rig, target) = rig().await;
    let answer = rig.send(ask("GET", &target).header("range", "bytes=0-1,4-5,-1")).await;
    assert_eq!(answer.status, 206);
    let content_type = answer.header("content-type");
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let part = |place: &str, bytes: &str| {
        format!(
            "--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {place}/10\r\n\r\n{bytes}\r\n"
        )
    };
    let expected = format!("{}{}{}--{boundary}--\r\n", part("0-1", "01"), part("4-5", "45"), part("9-9", "9"));
    assert_eq!(answer.text(), expected);
    let many: String = (0..65).map(|_| "0-0,").collect();
    let answer = rig.send(ask("GET", &target).header("range", &format!("bytes={many}"))).await;
    assert_eq!(answer.status, 400);
    assert_eq!(rig.send(ask("GET", &target).header("range", "bytes=0-9,0-9")).await.status, 200);
}

#[tokio::test]
async fn conditions() {
    let (rig, target) = rig().await;
    let digest = sha256(CONTENT.as_bytes());
    for tag in [digest.clone(), format!("\"{digest}\""), format!("W/\"{digest}\""), "*".to_owned()] {
        for method in ["GET", "HEAD"] {
            let answer = rig.send(ask(method, &target).header("if-none-match", &tag)).await;
            assert_eq!(answer.status, 304, "{tag}");
            check_identity(&answer, &digest);
        }
    }
    assert_eq!(rig.send(ask("GET", &target).header("if-none-match", "\"x\"")).await.status, 200);
    let ranged = |tag: &str| ask("GET", &target).header("range", "bytes=0-0").header("if-range", tag);
    assert_eq!(rig.send(ranged(&format!("\"{digest}\""))).await.status, 206);
    assert_eq!(rig.send(ranged("\"x\"")).await.status, 200);
    assert_eq!(rig.send(ranged(&format!("W/\"{digest}\""))).await.status, 200);
}

#[tokio::test]
async fn sha512_is_answered_as_asked() {
    let rig = Rig::open().await;
    let digest = sha512(CONTENT.as_bytes());
    let post = ask("POST", &format!("/v2/a/blobs/uploads/?digest={digest}")).body(CONTENT);
    let posted = rig.send(post).await;
    assert_eq!((posted.status, posted.header("docker-content-digest")), (201, digest.clone()));
    let answer = rig.get(&posted.header("location")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, CONTENT));
    check_identity(&answer, &digest);
}
