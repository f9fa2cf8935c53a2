//! A registry on a medium that cannot be written.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
};

use pierhead::store::filesystem::Filesystem;

use crate::support::{
    process::free_address,
    registry::{Program, spawn},
};

/// A directory that stands on every Linux and in which nobody can make a file, root neither.
const UNWRITABLE: &str = "/sys/kernel";

fn get(address: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn read_only_starts_where_nothing_can_be_written() {
    assert!(Filesystem::open(Path::new(UNWRITABLE)).is_err(), "the medium is one that takes no writes");
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let config = format!(
        "version: 0.1\nauth: none\nhttp: {{addr: '{address}'}}\n\
         storage: {{filesystem: {{rootdirectory: {UNWRITABLE}}}, maintenance: {{readonly: {{enabled: true}}}}}}\n"
    );
    fs::write(directory.path().join("config.yml"), config).unwrap();
    let _serving = spawn(&Program::pierhead(), directory.path(), address);
    assert!(get(address, "/v2/").starts_with("HTTP/1.1 200 "));
    let unknown = get(address, "/v2/a/tags/list");
    assert!(unknown.starts_with("HTTP/1.1 404 ") && unknown.contains("NAME_UNKNOWN"), "{unknown}");
}

#[test]
fn a_directory_that_is_missing_is_named_and_not_made() {
    let base = tempfile::tempdir().unwrap();
    let missing = base.path().join("missing");
    let error = Filesystem::open_to_read(&missing).unwrap_err();
    assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
    assert!(!missing.exists());
}
