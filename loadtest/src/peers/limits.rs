//! What a push cannot do without, each part by itself on this machine: the physical limit beside its figures.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use rustix::time::{ClockId, clock_gettime};
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, RootCertStore, ServerConfig, ServerConnection, SideData,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use sha2::{Digest as _, Sha256};

use crate::{compare::median, content::noise, peers::keys::Authority, quantity::digits};

/// How much each part moves, in pieces of this size.
const VOLUME: usize = 1 << 30;
const PIECE: usize = 1 << 20;

/// How much a server reads from a socket at once.
const READ: usize = 64 << 10;

/// Each part is taken several times, and its median said.
const TIMES: usize = 5;

/// What takes a part once more, and is told how often it was taken before.
type Part<'a> = &'a dyn Fn(usize) -> Result<Duration>;

/// A row for each part, and their sum, in CPU seconds per GiB.
pub(super) fn measure(scratch: &Path, authority: &Authority) -> Result<String> {
    let piece = noise(1, PIECE as u64);
    // Each into a file of its own, as blobs are: memory that the page cache has just given back costs least.
    let path = |number| scratch.join(format!("limit-{number}"));
    let parts: [(&str, Part<'_>); 4] = [
        ("socket receive", &|_| receive(&piece)),
        ("TLS open", &|_| open(&piece, authority)),
        ("SHA-256", &|_| Ok(hash(&piece))),
        ("page cache write", &|number| write(&piece, &path(number))),
    ];
    let mut text = String::from("Parts of a push, each alone, CPU s per GiB:");
    let mut sum = 0.0;
    for (name, part) in parts {
        let taken = (0..TIMES).map(|number| Ok(part(number)?.as_secs_f64())).collect::<Result<Vec<_>>>();
        let median = median(&taken.context(name)?).unwrap_or_default();
        sum += median;
        write!(text, " {name} {},", digits(median))?;
    }
    write!(text, " together {}.", digits(sum))?;
    (0..TIMES).try_for_each(|number| fs::remove_file(path(number)))?;
    Ok(text)
}

/// What this thread has used of the processors.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn hash(piece: &[u8]) -> Duration {
    let begin = used();
    let mut hasher = Sha256::new();
    for _ in 0..VOLUME / PIECE {
        hasher.update(piece);
    }
    std::hint::black_box(hasher.finalize());
    used().saturating_sub(begin)
}

fn write(piece: &[u8], path: &Path) -> Result<Duration> {
    let mut file = File::create(path)?;
    let begin = used();
    for _ in 0..VOLUME / PIECE {
        file.write_all(piece)?;
    }
    let taken = used().saturating_sub(begin);
    Ok(taken)
}

fn receive(piece: &[u8]) -> Result<Duration> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let sent = piece.to_vec();
    let sender = thread::spawn(move || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        (0..VOLUME / PIECE).try_for_each(|_| stream.write_all(&sent))
    });
    let (mut stream, _) = listener.accept()?;
    let mut buffer = vec![0; READ];
    let begin = used();
    while stream.read(&mut buffer)? > 0 {}
    let taken = used().saturating_sub(begin);
    sender.join().map_err(|_| anyhow!("the sender panicked"))??;
    Ok(taken)
}

/// Only what the server does is counted.
fn open(piece: &[u8], authority: &Authority) -> Result<Duration> {
    let (mut client, mut server) = connections(authority)?;
    let (mut wire, mut plain) = (Vec::new(), vec![0; READ]);
    while client.is_handshaking() || server.is_handshaking() {
        client.write_tls(&mut wire)?;
        feed(&mut server, &wire)?;
        wire.clear();
        server.write_tls(&mut wire)?;
        feed(&mut client, &wire)?;
        wire.clear();
    }
    let mut taken = Duration::ZERO;
    for part in piece.chunks_exact(READ).cycle().take(VOLUME / READ) {
        client.writer().write_all(part)?;
        while client.wants_write() {
            client.write_tls(&mut wire)?;
        }
        let begin = used();
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest)?;
            let state = server.process_new_packets()?;
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                left -= server.reader().read(&mut plain)?;
            }
        }
        taken += used().saturating_sub(begin);
        wire.clear();
    }
    Ok(taken)
}

/// Gives one side of a handshake what the other has written.
fn feed<Side: SideData>(connection: &mut ConnectionCommon<Side>, wire: &[u8]) -> Result<()> {
    let mut rest = wire;
    while !rest.is_empty() {
        connection.read_tls(&mut rest)?;
        connection.process_new_packets()?;
    }
    Ok(())
}

fn connections(authority: &Authority) -> Result<(ClientConnection, ServerConnection)> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&authority.certificate)?)?;
    let chain = CertificateDer::pem_file_iter(&authority.chain)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&authority.key)?;
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost")?;
    Ok((ClientConnection::new(Arc::new(client), name)?, ServerConnection::new(Arc::new(server))?))
}
