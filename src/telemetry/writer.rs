//! One thread that writes lines, so that a blocked pipe or a full disk never holds a request.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
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

#[derive(Debug)]
enum Message {
    Line(String),
    Flush(SyncSender<()>),
}

/// A handle to the writing thread; clones share it.
#[derive(Clone, Debug)]
pub struct Writer {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

/// Waits, when dropped, until the lines before it were written, for 2 s at most.
#[derive(Debug)]
pub struct FlushGuard(Writer);

impl Writer {
    /// Starts the thread; an error is the operating system's refusal to start one.
    pub fn start(output: impl Write + Send + 'static) -> std::io::Result<(Self, FlushGuard)> {
        let (sender, receiver) = sync_channel(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(output, &receiver, &lost))?;
        let writer = Self { sender, dropped };
        Ok((writer.clone(), FlushGuard(writer)))
    }

    /// Queues one line without its line end; drops and counts it when the queue is full.
    pub fn line(&self, mut line: String) {
        if line.len() > LINE_BYTES_MAX {
            line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
        }
        line.push('\n');
        if self.sender.try_send(Message::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lines lost since the start: the queue was full, or the output refused them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
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

fn write_all(mut output: impl Write, receiver: &Receiver<Message>, dropped: &AtomicU64) {
    for message in receiver {
        match message {
            Message::Line(line) => {
                if output.write_all(line.as_bytes()).is_err() {
                    dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
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
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_guard_waits_for_the_lines() {
        let shared = Shared::default();
        let (writer, guard) = Writer::start(shared.clone()).unwrap();
        writer.line("one".to_owned());
        writer.line("two".to_owned());
        drop(guard);
        assert_eq!(*shared.0.lock().unwrap(), b"one\ntwo\n");
        assert_eq!(writer.dropped(), 0);
    }

    #[test]
    fn a_blocked_output_drops_and_counts() {
        let shared = Shared::default();
        let (writer, guard) = Writer::start(shared.clone()).unwrap();
        let blocked = shared.0.lock().unwrap();
        for _ in 0..LINES_MAX + 100 {
            writer.line("x".to_owned());
        }
        assert!(writer.dropped() >= 99, "{}", writer.dropped());
        drop(blocked);
        drop(guard);
    }
}
