//! One thread that writes lines, so that a blocked pipe or a full disk never holds a request.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    mem,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use memchr::{memchr, memchr_iter, memrchr};

/// Bytes of lines that may wait; twice as many are in memory while the thread writes.
const QUEUE_BYTES_MAX: usize = 4 << 20;
/// Memory that is kept for the next lines, in bytes.
const SPARE_BYTES_MAX: usize = 64 << 10;
/// What goes into a pipe as one piece, in bytes (pipe(7)).
const PIPE_BUF: usize = 4096;
/// How long the thread waits for more lines once it has written some: waking it for each costs more than writing it.
const GATHERING: Duration = Duration::from_millis(5);
/// Longest line, in bytes. Those who make lines keep below it, each where its format can be cut.
pub const LINE_BYTES_MAX: usize = 8 * 1024;
/// How long the end of the process waits for a slow reader.
const FLUSH_DEADLINE: Duration = Duration::from_secs(2);

/// Permissions of a log file that is made: whoever collects logs is in its group.
const MODE: u32 = 0o640;

/// What waits to be written.
#[derive(Debug, Default)]
struct Queue {
    /// Whole lines.
    text: Vec<u8>,
    /// How much of the text goes before the place is opened again.
    reopen: Option<usize>,
    /// Who waits until what came before them was written.
    waiting: Vec<SyncSender<()>>,
    /// Whether no more will come: the last handle is gone.
    over: bool,
}

impl Queue {
    const fn is_idle(&self) -> bool {
        self.text.is_empty() && !self.is_pressing()
    }

    /// Whether the thread is to look at once.
    const fn is_pressing(&self) -> bool {
        self.reopen.is_some() || self.over || !self.waiting.is_empty()
    }
}

/// Between those who make lines and the thread that writes them.
#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Told when the queue is no longer idle, and when it presses.
    news: Condvar,
}

impl Shared {
    /// Nothing that is done under the lock can panic half way.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the queue, and wakes the thread where it must look at once.
    fn press(&self, change: impl FnOnce(&mut Queue)) {
        change(&mut self.lock());
        self.news.notify_one();
    }
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

    fn add(&self, lines: u64) {
        self.0.fetch_add(lines, Ordering::Relaxed);
    }
}

/// A handle to the writing thread; clones share it.
#[derive(Clone, Debug)]
pub struct Writer {
    handle: Arc<Handle>,
    losses: Losses,
}

/// The thread ends with the last of them.
#[derive(Debug)]
struct Handle(Arc<Shared>);

/// Waits, when dropped, until the lines before it were written, for 2 s at most.
#[derive(Debug)]
pub struct FlushGuard(Writer);

impl Writer {
    /// Starts the thread; an error is the operating system's refusal to start one. Lines that are lost are counted in
    /// `losses`: too much waited already, or the output refused them.
    pub fn start(output: impl Output, losses: &Losses) -> io::Result<(Self, FlushGuard)> {
        let shared = Arc::new(Shared::default());
        let writer = Self { handle: Arc::new(Handle(Arc::clone(&shared))), losses: losses.clone() };
        let losses = losses.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(output, &shared, &losses))?;
        Ok((writer.clone(), FlushGuard(writer)))
    }

    /// Queues one line without its line end; drops and counts it when too much waits.
    pub fn line(&self, line: &str) {
        let line = &line[..line.floor_char_boundary(LINE_BYTES_MAX)];
        let mut queue = self.handle.0.lock();
        if queue.text.len() + line.len() >= QUEUE_BYTES_MAX {
            drop(queue);
            self.losses.add(1);
            return;
        }
        let was_idle = queue.is_idle();
        queue.text.extend_from_slice(line.as_bytes());
        queue.text.push(b'\n');
        drop(queue);
        if was_idle {
            self.handle.0.news.notify_one();
        }
    }

    /// Lines that are queued from now on go to what then has the output's name.
    pub fn reopen(&self) {
        self.handle.0.press(|queue| queue.reopen = Some(queue.text.len()));
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.press(|queue| queue.over = true);
    }
}

impl Drop for FlushGuard {
    fn drop(&mut self) {
        let (done, wait) = sync_channel(1);
        self.0.handle.0.press(|queue| queue.waiting.push(done));
        match wait.recv_timeout(FLUSH_DEADLINE) {
            // Written, given up, or no thread left: in each case the process may end.
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

fn write_all(mut output: impl Output, shared: &Shared, losses: &Losses) {
    let mut spare = Vec::new();
    loop {
        let taken = take(shared, spare);
        let (before, after) = taken.text.split_at(taken.reopen.unwrap_or_default());
        write_lines(&mut output, before, losses);
        if taken.reopen.is_some()
            && let Err(error) = output.reopen()
        {
            tracing::error!("a log cannot be opened again: {error}");
        }
        write_lines(&mut output, after, losses);
        if !taken.waiting.is_empty() {
            // A failed flush has nobody to be told to.
            let _ = output.flush();
        }
        for done in taken.waiting {
            // Nobody waits any more when the deadline passed.
            let _ = done.send(());
        }
        if taken.over {
            return;
        }
        spare = taken.text;
    }
}

/// Writes whole lines, as many at once as a pipe takes without a word of others in between.
fn write_lines(output: &mut impl Output, text: &[u8], losses: &Losses) {
    let mut rest = text;
    while !rest.is_empty() {
        let most = rest.len().min(PIPE_BUF);
        // A line that is longer goes by itself.
        let end = memrchr(b'\n', &rest[..most]).or_else(|| memchr(b'\n', rest)).map_or(rest.len(), |end| end + 1);
        let (piece, later) = rest.split_at(end);
        if output.write_all(piece).is_err() {
            losses.add(memchr_iter(b'\n', piece).count() as u64);
        }
        rest = later;
    }
}

/// Waits a little, and then until there is something to do. `spare` is memory to be used again.
fn take(shared: &Shared, mut spare: Vec<u8>) -> Queue {
    spare.clear();
    spare.shrink_to(SPARE_BYTES_MAX);
    let gathered = shared.news.wait_timeout_while(shared.lock(), GATHERING, |queue| !queue.is_pressing());
    let (queue, _) = gathered.unwrap_or_else(PoisonError::into_inner);
    let mut queue = shared.news.wait_while(queue, |queue| queue.is_idle()).unwrap_or_else(PoisonError::into_inner);
    mem::replace(&mut queue, Queue { text: spare, ..Queue::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Output for Memory {}

    #[test]
    fn a_file_is_opened_again_by_its_name() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("log"), directory.path().join("log.1"));
        let losses = Losses::default();
        let (writer, guard) = Writer::start(LogFile::open(&path).unwrap(), &losses).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
        writer.line("one");
        drop(FlushGuard(writer.clone()));
        std::fs::rename(&path, &old).unwrap();
        // It is still in the queue when the place is opened again, most likely.
        writer.line("two");
        writer.reopen();
        writer.line("three");
        drop(FlushGuard(writer.clone()));
        // Where nothing can be opened, lines go on where they went.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        writer.reopen();
        writer.line("four");
        drop(guard);
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        assert_eq!(losses.total(), 0);
        assert!(LogFile::open(&path).is_err());
    }

    #[test]
    fn the_guard_waits_for_the_lines() {
        let (shared, losses) = (Memory::default(), Losses::default());
        let (writer, guard) = Writer::start(shared.clone(), &losses).unwrap();
        writer.line("one");
        writer.line("two");
        drop(guard);
        assert_eq!(*shared.0.lock().unwrap(), b"one\ntwo\n");
        assert_eq!(losses.total(), 0);
    }

    #[test]
    fn a_blocked_output_drops_and_counts() {
        let (shared, losses) = (Memory::default(), Losses::default());
        let (writer, guard) = Writer::start(shared.clone(), &losses).unwrap();
        let blocked = shared.0.lock().unwrap();
        let line = "x".repeat(LINE_BYTES_MAX);
        // One queue may be with the thread, and one waits.
        for _ in 0..2 * QUEUE_BYTES_MAX / line.len() + 100 {
            writer.line(&line);
        }
        assert!(losses.total() >= 99, "{losses:?}");
        drop(blocked);
        drop(guard);
    }
}
