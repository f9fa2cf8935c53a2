//! A request's body on its way to a server: pulled from the client as the server takes it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    time::timeout,
};

use crate::api::{BodyError, RequestBody};

/// How a request says where its body ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::upstream) enum Framing {
    /// There is none, and nothing says so.
    None,
    /// In bytes; 0 is said, too.
    Sized(u64),
    Chunked,
}

impl Framing {
    /// What the head says; `None` where HTTP/2 leaves it to the stream's end. How it is written was judged where the
    /// request was read.
    pub(in crate::upstream) fn said(headers: &HeaderMap) -> Option<Self> {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        match length {
            Some(length) => Some(Self::Sized(length)),
            None if headers.contains_key(header::TRANSFER_ENCODING) => Some(Self::Chunked),
            None => None,
        }
    }
}

/// What a server is given. It is a whole body only if its end came through the channel, too.
#[derive(Debug)]
pub(in crate::upstream) enum Outgoing {
    Empty,
    Fed {
        pieces: Receiver<Piece>,
        /// What is still to come, in bytes, where that is known.
        left: Option<u64>,
        ended: bool,
    },
}

#[derive(Debug)]
pub(in crate::upstream) enum Piece {
    Data(Bytes),
    End,
}

/// The client's body broke off, so the server's must.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the client's body broke off")]
pub(in crate::upstream) struct BrokenOff;

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Self::Fed { pieces, left, ended } = self.get_mut() else { return Poll::Ready(None) };
        if *ended {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(pieces.poll_recv(context)) {
            Some(Piece::Data(bytes)) => {
                *left = left.map(|left| left.saturating_sub(bytes.len() as u64));
                Some(Ok(Frame::data(bytes)))
            }
            Some(Piece::End) => {
                *ended = true;
                None
            }
            None => Some(Err(BrokenOff)),
        })
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Fed { ended, .. } => *ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Fed { left: Some(left), .. } => SizeHint::with_exact(*left),
            Self::Fed { left: None, .. } => SizeHint::new(),
        }
    }
}

/// The end that pulls from the client; without it the body breaks off.
#[derive(Debug)]
pub(in crate::upstream) struct Feeder(Sender<Piece>);

/// Both ends; one piece waits in between. There is no feeder where there is nothing to feed.
pub(in crate::upstream) fn channel(framing: &Framing) -> (Option<Feeder>, Outgoing) {
    let left = match framing {
        Framing::None | Framing::Sized(0) => return (None, Outgoing::Empty),
        Framing::Sized(length) => Some(*length),
        Framing::Chunked => None,
    };
    let (sender, pieces) = mpsc::channel(1);
    (Some(Feeder(sender)), Outgoing::Fed { pieces, left, ended: false })
}

/// Why the rest of a body does not go to the server.
#[derive(Clone, Copy, Debug)]
pub(in crate::upstream) enum Unfed {
    Client(BodyError),
    /// The server took nothing for too long.
    Stalled,
    /// The connection is over: whoever waits for the answer hears why.
    Closed,
}

impl Feeder {
    /// Gives the client's bytes, those that were read already first, as fast as they are taken. `taken` says afterwards
    /// whether any byte left the client's hands.
    pub(in crate::upstream) async fn feed(
        &self,
        body: &mut dyn RequestBody,
        first: &mut Option<Bytes>,
        patience: Duration,
        taken: &mut bool,
    ) -> Result<(), Unfed> {
        loop {
            let chunk = match first.take() {
                Some(chunk) => Some(chunk),
                // The rim's own deadlines watch the client.
                None => body.chunk().await.map_err(Unfed::Client)?,
            };
            let Some(chunk) = chunk else { return self.give(Piece::End, patience).await };
            *taken = true;
            self.give(Piece::Data(chunk), patience).await?;
        }
    }

    async fn give(&self, piece: Piece, patience: Duration) -> Result<(), Unfed> {
        match timeout(patience, self.0.send(piece)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Unfed::Closed),
            Err(_) => Err(Unfed::Stalled),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_head_says_where_its_body_ends() {
        let check = |name: header::HeaderName, value: &'static str, expected: Option<Framing>| {
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            assert_eq!(Framing::said(&headers), expected, "{value}");
        };
        check(header::CONTENT_LENGTH, "0", Some(Framing::Sized(0)));
        check(header::CONTENT_LENGTH, "77", Some(Framing::Sized(77)));
        check(header::TRANSFER_ENCODING, "chunked", Some(Framing::Chunked));
        check(header::ACCEPT, "*/*", None);
    }
}
