//! HTTP/2 frame by frame (RFC 9113): what well-behaved libraries would not send.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split},
    time::timeout,
};

use crate::hostile::{client::Stream, target::Target};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block (RFC 7541) that leaves the table of the connection alone: literals without indexing.
pub(super) fn block(method: &str, path: &str, token: Option<&str>) -> Vec<u8> {
    let mut block = Vec::new();
    // Names by their place in the static table: :method, :scheme, :authority, :path, authorization.
    for (name, value) in [(2, method), (6, "https"), (1, "localhost"), (4, path)] {
        literal(&mut block, name, value.as_bytes());
    }
    if let Some(token) = token {
        literal(&mut block, 23, format!("Bearer {token}").as_bytes());
    }
    block
}

fn literal(block: &mut Vec<u8>, name: usize, value: &[u8]) {
    integer(block, 0, 4, name);
    integer(block, 0, 7, value.len());
    block.extend(value);
}

/// An integer behind `flags` in a byte with `bits` left (RFC 7541 section 5.1).
pub(super) fn integer(block: &mut Vec<u8>, flags: u8, bits: u32, value: usize) {
    let full = (1_usize << bits) - 1;
    let byte = |value: usize| u8::try_from(value).unwrap();
    if value < full {
        block.push(flags | byte(value));
        return;
    }
    block.push(flags | byte(full));
    let mut rest = value - full;
    while rest >= 128 {
        block.push(byte(rest % 128) | 128);
        rest /= 128;
    }
    block.push(byte(rest));
}

/// How a connection ended for whoever attacked on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// The server closed it, mostly after a GOAWAY.
    Ended,
    /// Everything was taken.
    Borne,
}

/// A connection past its preface.
pub(super) struct Connection {
    pub(super) reader: ReadHalf<Stream>,
    pub(super) writer: WriteHalf<Stream>,
}

impl Connection {
    /// `settings` is the payload of the client's SETTINGS.
    pub(super) async fn open(target: &Target, settings: &[u8]) -> Self {
        Self::begin(target.connect("h2").await, settings).await.unwrap()
    }

    /// The same on a connection past its handshake.
    pub(super) async fn begin(stream: Stream, settings: &[u8]) -> std::io::Result<Self> {
        let (reader, mut writer) = split(stream);
        writer.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await?;
        writer.flush().await?;
        Ok(Self { reader, writer })
    }

    /// Writes everything that `frames` gives while reading away what comes; ends early when the server has enough.
    pub(super) async fn flood(mut self, frames: impl Iterator<Item = Vec<u8>>) -> Outcome {
        let write = async {
            let mut batch = Vec::new();
            for frame in frames {
                batch.extend(frame);
                if batch.len() >= 16 << 10 {
                    if self.writer.write_all(&batch).await.is_err() {
                        return Outcome::Ended;
                    }
                    batch.clear();
                }
            }
            if self.writer.write_all(&batch).await.is_err() || self.writer.flush().await.is_err() {
                return Outcome::Ended;
            }
            // What is wrong with the last frames shows only now.
            tokio::time::sleep(Duration::from_secs(1)).await;
            Outcome::Borne
        };
        let read = async {
            while let Some((kind, _)) = next_frame(&mut self.reader).await {
                if kind == GOAWAY {
                    break;
                }
            }
            Outcome::Ended
        };
        let race = async {
            tokio::select! {
                outcome = read => outcome,
                outcome = write => outcome,
            }
        };
        timeout(Duration::from_secs(30), race).await.expect("neither end came")
    }
}

/// Kind and payload; `None` at the end of the connection.
pub(super) async fn next_frame(reader: &mut ReadHalf<Stream>) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    reader.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    reader.read_exact(&mut payload).await.ok()?;
    Some((head[3], payload))
}
