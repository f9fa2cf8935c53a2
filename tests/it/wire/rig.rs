//! A server with a handler of a few paths, and the means to talk to it byte by byte.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, StatusCode};
use pierhead::{
    admission::Admission,
    api::{Body, Log, Reply, Request, StreamError},
    clock::SystemClock,
    server::{
        self, Endpoint, Handler, Server, Settings,
        address::Address,
        bounds::{Deadlines, Limits},
        challenges::Challenges,
        control::Control,
        exchange::{Ending, Exchange, Observer},
        proxies::Proxies,
    },
    tls::{self, Terms, certificates::Certificates, client, development, pem},
};
use rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types::ServerName, server::ClientHello};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// No test waits longer than this for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What the handler and the observer saw.
#[derive(Default)]
pub(super) struct Probe {
    /// Bytes of request bodies that the handler was given.
    pub(super) received: AtomicU64,
    /// Bytes of answers that the handler was asked for.
    pub(super) produced: AtomicU64,
    /// Requests that the handler saw.
    pub(super) requests: AtomicU64,
    /// `/hold` goes on when this is notified.
    pub(super) release: Notify,
    pub(super) endings: Mutex<Vec<(StatusCode, Ending)>>,
}

impl Probe {
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let wait = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never saw: {what}"));
    }
}

impl Observer for Probe {
    fn observe(&self, exchange: &Exchange) {
        self.endings.lock().unwrap().push((exchange.status, exchange.ending));
    }
}

struct Site(Arc<Probe>);

fn text(status: StatusCode, text: impl Into<String>) -> Reply {
    Reply { status, headers: HeaderMap::new(), body: Body::Full(Bytes::from(text.into())), log: Log::default() }
}

#[async_trait]
impl Handler for Site {
    async fn handle(&self, mut request: Request) -> Reply {
        self.0.requests.fetch_add(1, Ordering::SeqCst);
        let path = request.uri.path().to_owned();
        let (name, number) = path[1..].split_once('/').unwrap_or_else(|| (&path[1..], "0"));
        let number: u64 = number.parse().unwrap_or(0);
        match name {
            "deny" => text(StatusCode::UNAUTHORIZED, "denied"),
            "count" => self.count(&mut request).await,
            "hold" => {
                self.0.release.notified().await;
                text(StatusCode::OK, "released")
            }
            "doze" => {
                tokio::time::sleep(Duration::from_millis(number)).await;
                self.count(&mut request).await
            }
            "panic" => panic!("as asked"),
            "big" => self.stream(number, number, None),
            "short" => self.stream(number, number / 2, None),
            "long" => self.stream(number, number * 2, None),
            "broken" => self.stream(number, number / 2, Some(StreamError("as asked".to_owned()))),
            "none" => Reply {
                status: StatusCode::NO_CONTENT,
                headers: HeaderMap::new(),
                body: Body::Empty,
                log: Log::default(),
            },
            "host" => text(StatusCode::OK, format!("{:?} {}", request.headers.get("host"), request.uri)),
            _ => text(StatusCode::OK, "ok"),
        }
    }
}

impl Site {
    async fn count(&self, request: &mut Request) -> Reply {
        let mut count = 0;
        loop {
            match request.body.chunk().await {
                Ok(Some(chunk)) => {
                    count += chunk.len() as u64;
                    self.0.received.fetch_add(chunk.len() as u64, Ordering::SeqCst);
                }
                Ok(None) => return text(StatusCode::OK, count.to_string()),
                Err(error) => return text(StatusCode::REQUEST_TIMEOUT, format!("{error:?}")),
            }
        }
    }

    fn stream(&self, length: u64, real: u64, then: Option<StreamError>) -> Reply {
        const CHUNK: u64 = 64 << 10;
        let probe = Arc::clone(&self.0);
        let chunks = (0..real.div_ceil(CHUNK)).map(move |index| {
            let size = CHUNK.min(real - index * CHUNK);
            probe.produced.fetch_add(size, Ordering::SeqCst);
            Ok(Bytes::from(vec![b'x'; usize::try_from(size).unwrap()]))
        });
        let content = stream::iter(chunks.chain(then.into_iter().map(Err))).boxed();
        Reply {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Body::Stream { length, content },
            log: Log::default(),
        }
    }
}

/// Deadlines short enough to be waited for.
pub(super) fn hasty() -> Deadlines {
    Deadlines {
        handshake: Duration::from_millis(300),
        head: Duration::from_millis(300),
        idle: Duration::from_millis(600),
        body: Duration::from_millis(300),
        body_rate_min: 1024,
        write: Duration::from_millis(300),
        write_rate_min: 1024,
        linger: Duration::from_millis(500),
    }
}

/// As the composition root wires it.
#[derive(Debug)]
struct Handshakes(Terms);

impl server::Handshakes for Handshakes {
    fn answer(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        self.0.for_name(hello.server_name())
    }
}

pub(super) struct Rig {
    pub(super) address: SocketAddr,
    pub(super) probe: Arc<Probe>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) control: Control,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
    roots: RootCertStore,
    // Holds the certificate files.
    pub(super) directory: tempfile::TempDir,
}

/// What differs from test to test.
pub(super) struct Plan {
    pub(super) tls: Option<tls::Settings>,
    pub(super) deadlines: Deadlines,
    pub(super) limits: Limits,
    pub(super) admission: Arc<Admission>,
    pub(super) proxies: Proxies,
    pub(super) drain: Option<Duration>,
    pub(super) challenges: Option<Arc<dyn Challenges>>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            tls: None,
            deadlines: Deadlines::default(),
            limits: Limits::default(),
            admission: Arc::default(),
            proxies: Proxies::default(),
            drain: Some(PATIENCE),
            challenges: None,
        }
    }
}

impl Plan {
    pub(super) fn secure() -> Self {
        Self { tls: Some(tls::Settings::default()), ..Self::default() }
    }
}

pub(super) fn development_pair(directory: &std::path::Path) -> (pem::Pair, RootCertStore) {
    let paths = development::ensure(directory, &[], &SystemClock).unwrap();
    let pair = pem::load(&paths.certificate, &paths.key, pem::Strictness::Strict, OffsetDateTime::now_utc()).unwrap();
    let authority = std::fs::read(paths.authority).unwrap();
    let mut roots = RootCertStore::empty();
    for certificate in rustls_pemfile::certs(&mut authority.as_slice()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    (pair, roots)
}

fn terms(settings: &tls::Settings, certificates: &Arc<Certificates>) -> Terms {
    let files = settings.client.as_ref().map_or(&[][..], |client| &client.authorities);
    let authorities = client::authorities(files).unwrap();
    Terms::new(settings, &authorities, Arc::clone(certificates)).unwrap()
}

impl Rig {
    pub(super) fn start(plan: Plan) -> Self {
        Self::serve(plan, |probe| Arc::new(Site(probe)))
    }

    /// With a handler of the test's own.
    pub(super) fn serve(plan: Plan, handler: impl FnOnce(Arc<Probe>) -> Arc<dyn Handler>) -> Self {
        tls::install_provider();
        let directory = tempfile::tempdir().unwrap();
        let (pair, roots) = development_pair(directory.path());
        let certificates = Arc::new(Certificates::new(vec![pair]));
        let tls = plan.tls.map(|settings| Arc::new(Handshakes(terms(&settings, &certificates))));
        let server = Server::bind(Settings {
            listeners: vec![Endpoint::new(Address::tcp("127.0.0.1:0").unwrap(), tls.map(|tls| tls as _))],
            limits: plan.limits,
            deadlines: plan.deadlines,
            admission: plan.admission,
            proxies: plan.proxies,
            drain: plan.drain,
            challenges: plan.challenges,
        })
        .unwrap();
        let address = server.local_addresses()[0].to_string().parse().unwrap();
        let control = server.control();
        let probe = Arc::new(Probe::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let run = server.run(handler(Arc::clone(&probe)), Arc::clone(&probe) as _, async {
            let _ = stopped.await;
        });
        let running = tokio::spawn(async { run.await.unwrap() });
        Self { address, probe, certificates, control, stop: Some(stop), running, roots, directory }
    }

    pub(super) fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// Waits until the server has returned.
    pub(super) async fn ended(&mut self) {
        timeout(PATIENCE, &mut self.running).await.expect("the server did not end").unwrap();
    }

    pub(super) async fn plain(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(super) fn client(&self) -> ClientConfig {
        ClientConfig::builder().with_root_certificates(self.roots.clone()).with_no_client_auth()
    }

    pub(super) async fn secure(&self, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, self.plain().await).await
    }

    /// An HTTP/2 connection with the client's windows left small, so that back-pressure shows.
    pub(super) async fn http2(&self) -> h2::client::SendRequest<Bytes> {
        let mut config = self.client();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let (sender, connection) = h2::client::handshake(self.secure(config).await.unwrap()).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Sends `request` on a new plain connection and returns everything until the server closes.
    pub(super) async fn say(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.plain().await;
        stream.write_all(request.as_ref()).await.unwrap();
        everything(&mut stream).await
    }
}

/// Reads until the end, however it comes.
pub(super) async fn everything(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server did not close");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until `needle` has come.
pub(super) async fn until(stream: &mut (impl AsyncRead + Unpin), needle: &str) -> String {
    let mut text = String::new();
    let read = async {
        let mut buffer = [0; 4096];
        while !text.contains(needle) {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "closed after {text:?}");
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    timeout(PATIENCE, read).await.expect("the needle did not come");
    text
}

/// Writes until the server takes no more for a while; the bytes written.
pub(super) async fn stuff(stream: &mut (impl AsyncWrite + Unpin), limit: usize) -> usize {
    let chunk = vec![b'y'; 64 << 10];
    let mut total = 0;
    while total < limit {
        match timeout(Duration::from_millis(500), stream.write(&chunk)).await {
            Ok(Ok(count)) => total += count,
            Ok(Err(_)) | Err(_) => break,
        }
    }
    total
}

pub(super) fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no status in {answer:?}"))
}
