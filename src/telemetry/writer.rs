//! One thread that writes lines, so that a blocked pipe or a full disk never holds a request.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

/// Lines that may wait; a line is cut at [`LINE_BYTES_MAX`], so this bounds the memory as well.
const LINES_MAX: usize = 4096;
/// Longest line, in bytes. Those who make lines keep below it, each where its format can be cut.
pub const LINE_BYTES_MAX: usize = 8 * 1024;
/// How long the end of the process waits for a slow reader.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);

/// Permissions of a log file that is made: whoever collects logs is in its group.
const MODE: u32 = 0o640;

#[derive(Debug)]
enum Message {
    Line(String),
    /// Wakes the thread, which then sees that it shall open its file again.
    Reopen,
    Flush(SyncSender<()>),
}

/// Where lines go.
pub trait Output: Write + Send + 'static {
    /// Opens the place again by its name, after somebody has renamed what was there. Where that fails the old one stays.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Output for io::Stdout {}

impl Output for io::Stderr {}

impl Output for io::Sink {}

/// A file that lines are appended to.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    /// Makes it where there is none.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: append_to(path)? })
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(MODE).open(path)
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Output for LogFile {
    fn reopen(&mut self) -> io::Result<()> {
        self.file = append_to(&self.path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}; lines go on where they went", self.path.display()))
        })?;
        Ok(())
    }
}

/// How many lines were lost, whichever writer lost them.
#[derive(Clone, Debug, Default)]
pub struct Losses(Arc<AtomicU64>);

impl Losses {
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A handle to the writing thread; clones share it.
#[derive(Clone, Debug)]
pub struct Writer {
    sender: SyncSender<Message>,
    losses: Losses,
    /// Set until the thread has opened its place again.
    reopen: Arc<AtomicBool>,
}

/// Waits, when dropped, until the lines before it were written, for 2 s at most.
#[derive(Debug)]
pub struct FlushGuard(Writer);

impl Writer {
    /// Starts the thread; an error is the operating system's refusal to start one. Lines that are lost are counted in
    /// `losses`: the queue was full, or the output refused them.
    pub fn start(output: impl Output, losses: &Losses) -> io::Result<(Self, FlushGuard)> {
        let (sender, receiver) = sync_channel(LINES_MAX);
        let writer = Self { sender, losses: losses.clone(), reopen: Arc::default() };
        let (losses, reopen) = (losses.clone(), Arc::clone(&writer.reopen));
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(output, &receiver, &losses, &reopen))?;
        Ok((writer.clone(), FlushGuard(writer)))
    }

    /// Queues one line without its line end; drops and counts it when the queue is full.
    pub fn line(&self, mut line: String) {
        if line.len() > LINE_BYTES_MAX {
            line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
        }
        line.push('\n');
        if self.sender.try_send(Message::Line(line)).is_err() {
            self.losses.add_one();
        }
    }

    /// Lines that are queued from now on go to what then has the output's name; those before may go to either.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        // A full queue is being worked on, and each line makes the thread look.
        let _ = self.sender.try_send(Message::Reopen);
    }
}

impl Drop for FlushGuard {
    fn drop(&mut self) {
        let (done, wait) = sync_channel(1);
        if self.0.sender.try_send(Message::Flush(done)).is_ok() {
            match wait.recv_timeout(FLUSH_DEADLINE) {
                // Written, given up, or no thread left: in each case the process may end.
                Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }
}

fn write_all(mut output: impl Output, receiver: &Receiver<Message>, losses: &Losses, reopen: &AtomicBool) {
    for message in receiver {
        if reopen.swap(false, Ordering::Acquire)
            && let Err(error) = output.reopen()
        {
            tracing::error!("a log cannot be opened again: {error}");
        }
        match message {
            Message::Line(line) => {
                if output.write_all(line.as_bytes()).is_err() {
                    losses.add_one();
                }
            }
            Message::Reopen => {}
            Message::Flush(done) => {
                let flushed = output.flush();
                // Nobody waits any more when the deadline passed; a failed flush has nobody to be told to.
                drop((flushed, done.send(())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Output for Shared {}

    #[test]
    fn a_file_is_opened_again_by_its_name() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("log"), directory.path().join("log.1"));
        let losses = Losses::default();
        let (writer, guard) = Writer::start(LogFile::open(&path).unwrap(), &losses).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
        writer.line("one".to_owned());
        drop(FlushGuard(writer.clone()));
        std::fs::rename(&path, &old).unwrap();
        writer.line("two".to_owned());
        drop(FlushGuard(writer.clone()));
        writer.reopen();
        writer.line("three".to_owned());
        drop(FlushGuard(writer.clone()));
        // Where nothing can be opened, lines go on where they went.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        writer.reopen();
        writer.line("four".to_owned());
        drop(guard);
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        assert_eq!(losses.total(), 0);
        assert!(LogFile::open(&path).is_err());
    }

    #[test]
    fn the_guard_waits_for_the_lines() {
        let (shared, losses) = (Shared::default(), Losses::default());
        let (writer, guard) = Writer::start(shared.clone(), &losses).unwrap();
        writer.line("one".to_owned());
        writer.line("two".to_owned());
        drop(guard);
        assert_eq!(*shared.0.lock().unwrap(), b"one\ntwo\n");
        assert_eq!(losses.total(), 0);
    }

    #[test]
    fn a_blocked_output_drops_and_counts() {
        let (shared, losses) = (Shared::default(), Losses::default());
        let (writer, guard) = Writer::start(shared.clone(), &losses).unwrap();
        let blocked = shared.0.lock().unwrap();
        for _ in 0..LINES_MAX + 100 {
            writer.line("x".to_owned());
        }
        assert!(losses.total() >= 99, "{losses:?}");
        drop(blocked);
        drop(guard);
    }
}
