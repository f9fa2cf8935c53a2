//! Networks that may come in, and those that may not.

use tokio::net::UnixStream;

use crate::{
    hostile::client::request,
    limits::site::{PROXY, Site, exchange, is_closed},
    support::process::free_address,
};

#[tokio::test]
async fn connections_are_closed_at_once() {
    let check = async |access: &str, served: &[&str], closed: &[&str]| {
        let site = Site::start(&format!("  access: {access}\n"));
        for from in served {
            assert_eq!(site.get(from, &[]).await, 200, "{access}: {from}");
        }
        for from in closed {
            let mut silent = site.connect(from).await;
            assert!(is_closed(&mut silent).await, "{access}: {from} waits for something");
            for header in ["X-Forwarded-For", "X-Real-IP", "Forwarded"] {
                assert_eq!(site.get(from, &[(header, served[0])]).await, 0, "{access}: {from} as {}", served[0]);
            }
        }
        site.until_limited("access", closed.len() as u64 * 4).await;
    };
    check("{deny: [127.0.0.2]}", &["127.0.0.1", "127.0.0.3"], &["127.0.0.2"]).await;
    check("{allow: [127.0.1.0/24]}", &["127.0.1.1", "127.0.1.255"], &["127.0.0.1", "127.0.2.1"]).await;
    check("{allow: [127.0.1.0/24], deny: [127.0.1.64/26]}", &["127.0.1.1"], &["127.0.1.100"]).await;
}

#[tokio::test]
async fn behind_a_proxy_each_request_is_judged() {
    let site = Site::start(&format!(
        "  trusted_proxies: [{PROXY}]\n  access: {{allow: [192.0.2.0/24], deny: [192.0.2.66]}}\n"
    ));
    let check = async |forwarded: &str, expected: u16| {
        let headers = [("X-Forwarded-For", forwarded)];
        let answer = site.ask(PROXY, "GET", "/v2/", &headers).await.expect("an answer");
        assert_eq!(answer.status, expected, "{forwarded}: {answer:?}");
        assert_eq!(answer.code(), if expected == 403 { "DENIED" } else { "" });
    };
    check("192.0.2.1", 200).await;
    check("198.51.100.1, 192.0.2.1", 200).await;
    check("198.51.100.1", 403).await;
    check("192.0.2.66", 403).await;
    check("192.0.2.1, 198.51.100.1", 403).await;
    check("192.0.2.1, 192.0.2.66", 403).await;
    // What a client wrote before its proxy added to it hides nothing.
    check("\", 198.51.100.1", 403).await;
    check("\"192.0.2.1, 198.51.100.1", 403).await;
    // The proxy itself, as when it asks for our health.
    assert_eq!(site.get(PROXY, &[]).await, 200);
    // A connection goes on after a client was denied: the next may be another's.
    let mut shared = site.connect(PROXY).await;
    for (client, expected) in [("198.51.100.1", 403), ("192.0.2.1", 200)] {
        let raw = request("GET", "/v2/", &[("X-Forwarded-For", client)], b"");
        assert_eq!(exchange(&mut shared, &raw).await.unwrap().status, expected);
    }
    // Whoever is no proxy says in vain that he is one of those who may.
    assert_eq!(site.get("127.0.0.8", &[("X-Forwarded-For", "192.0.2.1")]).await, 0);
}

#[tokio::test]
async fn a_proxy_on_the_list_of_those_who_may_not_does_not() {
    let site = Site::start(&format!("  trusted_proxies: [127.0.0.0/24]\n  access: {{deny: [{PROXY}]}}\n"));
    assert_eq!(site.get(PROXY, &[("X-Forwarded-For", "192.0.2.1")]).await, 0);
    assert_eq!(site.get("127.0.0.1", &[("X-Forwarded-For", "192.0.2.1")]).await, 200);
}

#[tokio::test]
async fn sockets_of_the_file_system_have_a_word_of_their_own() {
    let check = async |access: &str, unix: u16, tcp: u16| {
        let site = Site::start(&format!(
            "  listen: [{{address: 'ADDRESS', tls: off}}, {{address: 'unix:HERE/socket', tls: off}}]\n  access: {access}\n"
        ));
        let mut socket = UnixStream::connect(site.path("socket")).await.unwrap();
        let answer = exchange(&mut socket, &request("GET", "/v2/", &[], b"")).await;
        assert_eq!(answer.map_or(0, |answer| answer.status), unix, "{access}");
        assert_eq!(site.get("127.0.0.1", &[]).await, tcp, "{access}");
    };
    check("{}", 200, 200).await;
    check("{allow: [unix]}", 200, 0).await;
    check("{allow: [127.0.0.0/8]}", 0, 200).await;
    check("{deny: [unix]}", 0, 200).await;
}

#[tokio::test]
async fn the_way_to_https_is_for_everybody() {
    let port = free_address().port();
    let site = Site::start(&format!(
        "  external_url: https://registry.example.com\n  redirect_http_to_https: {{address: '127.0.0.1:{port}'}}\n  \
         access: {{deny: [127.0.0.0/8]}}\n"
    ));
    assert_eq!(site.get("127.0.0.1", &[]).await, 0);
    let mut plain = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let answer = exchange(&mut plain, &request("GET", "/v2/", &[], b"")).await.expect("an answer");
    assert_eq!((answer.status, answer.header("location")), (301, "https://registry.example.com/v2/"));
}
