//! Whom a client asks for before anything is answered: the name in its hello (SNI, RFC 6066 section 3).
//!
//! The bytes stay where they are, ahead of whoever reads next: the other server, or our own handshake. How a hello is cut
//! into records and packets does not matter. What cannot be read as one is not passed on; our own handshake says so.

use std::io;

use rustls::server::Acceptor;

use crate::server::socket::Wire;

/// Bytes of a hello that are waited for. The protocol's own bound of a message is 64 KiB; a client that sends many key
/// shares needs a few.
const HELLO_MAX: usize = 68 << 10;

/// The name, if there is a hello that has one.
///
/// # Errors
/// The client went away before.
pub(super) async fn name(wire: &mut Wire) -> io::Result<Option<String>> {
    let mut acceptor = Acceptor::default();
    let mut read = 0;
    while read < HELLO_MAX {
        if read == wire.ahead().len() && wire.look_further().await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = &wire.ahead()[read..];
        while !rest.is_empty() {
            if acceptor.read_tls(&mut rest).is_err() {
                return Ok(None);
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => return Ok(accepted.client_hello().server_name().map(str::to_owned)),
                Err(_) => return Ok(None),
            }
        }
        read = wire.ahead().len();
    }
    Ok(None)
}
