//! The thread of a node's disk: what waits is written as one batch, and synced once.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::directory::Fsync;
use crate::core::machine::Ticket;

/// What the thread writes to.
pub(super) trait Writer: Send {
    /// What a machine gives it at once.
    type Work: Send;

    /// Writes a batch. It need not stay whatever happens before [`Writer::sync`] has returned.
    fn write(&mut self, batch: Vec<Self::Work>) -> io::Result<()>;

    /// Returns once all that was written stays.
    fn sync(&mut self) -> io::Result<()>;
}

/// Something to be written.
#[derive(Debug)]
pub(super) struct Job<Work> {
    pub(super) ticket: Ticket,
    pub(super) work: Work,
}

/// The thread that writes. Dropping [`Disk::jobs`] ends it once all is written.
#[derive(Debug)]
pub(super) struct Disk<Work> {
    pub(super) jobs: Sender<Job<Work>>,
    pub(super) thread: JoinHandle<()>,
}

impl<Work: Send + 'static> Disk<Work> {
    /// Starts the thread. `done` is told the last ticket of each batch, once that counts as written,
    /// and at last why no more is taken, where that is so.
    pub(super) fn start(
        writer: impl Writer<Work = Work> + 'static,
        fsync: Fsync,
        done: impl Fn(Result<Ticket, String>) + Send + 'static,
    ) -> io::Result<Disk<Work>> {
        let (jobs, queue) = channel();
        let run = move || work(writer, fsync, &queue, &done);
        let thread = std::thread::Builder::new().name("dht-disk".to_owned()).spawn(run)?;
        Ok(Disk { jobs, thread })
    }
}

/// Writes until nobody gives anything any more, or the disk takes nothing.
pub(super) fn work<W: Writer>(
    writer: W,
    fsync: Fsync,
    queue: &Receiver<Job<W::Work>>,
    done: &impl Fn(Result<Ticket, String>),
) {
    // What is in the file after an error nobody knows: nothing more is written to it.
    if let Err(error) = write_all(writer, fsync, queue, done) {
        done(Err(error.to_string()));
    }
}

fn write_all<W: Writer>(
    mut writer: W,
    fsync: Fsync,
    queue: &Receiver<Job<W::Work>>,
    done: &impl Fn(Result<Ticket, String>),
) -> io::Result<()> {
    let mut sync_at: Option<Instant> = None;
    loop {
        match next(queue, sync_at) {
            Ok(first) => {
                let batch: Vec<_> = std::iter::once(first).chain(queue.try_iter()).collect();
                let last = batch[batch.len() - 1].ticket;
                writer.write(batch.into_iter().map(|job| job.work).collect())?;
                match fsync {
                    Fsync::Always => writer.sync()?,
                    Fsync::Interval(interval) => {
                        sync_at.get_or_insert_with(|| Instant::now() + interval);
                    }
                    Fsync::Never => {}
                }
                done(Ok(last));
            }
            Err(RecvTimeoutError::Timeout) => {
                writer.sync()?;
                sync_at = None;
            }
            Err(RecvTimeoutError::Disconnected) => {
                return if sync_at.is_some() { writer.sync() } else { Ok(()) };
            }
        }
    }
}

/// The next job; a timeout where it is time for a sync, however many wait.
fn next<T>(queue: &Receiver<T>, sync_at: Option<Instant>) -> Result<T, RecvTimeoutError> {
    let Some(at) = sync_at else {
        return queue.recv().map_err(|_| RecvTimeoutError::Disconnected);
    };
    let rest = at.saturating_duration_since(Instant::now());
    if rest == Duration::ZERO { Err(RecvTimeoutError::Timeout) } else { queue.recv_timeout(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Takes down what is done to it.
    struct Book(Arc<Mutex<Vec<String>>>);

    impl Writer for Book {
        type Work = u8;

        fn write(&mut self, batch: Vec<u8>) -> io::Result<()> {
            self.0.lock().unwrap().push(format!("write {batch:?}"));
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            self.0.lock().unwrap().push("sync".to_owned());
            Ok(())
        }
    }

    fn steps(fsync: Fsync) -> Vec<String> {
        let done = Arc::new(Mutex::new(Vec::new()));
        let (sender, queue) = channel();
        for number in [1, 2] {
            sender.send(Job { ticket: Ticket(number), work: number as u8 }).unwrap();
        }
        drop(sender);
        let told = |result: Result<Ticket, String>| {
            done.lock().unwrap().push(format!("told {}", result.unwrap().0));
        };
        work(Book(done.clone()), fsync, &queue, &told);
        std::mem::take(&mut *done.lock().unwrap())
    }

    #[test]
    fn each_kind_of_sync_has_its_time() {
        assert_eq!(steps(Fsync::Always), ["write [1, 2]", "sync", "told 2"]);
        assert_eq!(steps(Fsync::Never), ["write [1, 2]", "told 2"]);
        let hour = Fsync::Interval(Duration::from_secs(3_600));
        assert_eq!(steps(hour), ["write [1, 2]", "told 2", "sync"]);
    }

    #[test]
    fn an_interval_ends_while_nothing_comes() {
        let done = Arc::new(Mutex::new(Vec::new()));
        let (sender, queue) = channel();
        sender.send(Job { ticket: Ticket(1), work: 1 }).unwrap();
        let book = Book(done.clone());
        let interval = Fsync::Interval(Duration::from_millis(1));
        let thread = std::thread::spawn(move || work(book, interval, &queue, &|_| {}));
        while done.lock().unwrap().len() < 2 {
            std::thread::yield_now();
        }
        assert_eq!(*done.lock().unwrap(), ["write [1]", "sync"]);
        drop(sender);
        thread.join().unwrap();
    }
}
