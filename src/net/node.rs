//! A running view leader or server: a machine on a thread of its own, behind a handle.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::runtime::LocalRuntime;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::directory::{DiskError, Fsync};
use super::disk::Directory;
use super::driver::{Driver, Ending, Jobs};
use super::hosts::{Hosts, VIEWLEADER_PORTS};
use super::limits::Limits;
use super::listener;
use super::notes::{self, Hub, NoteSource};
use super::runtime;
use super::store::Store;
use super::writer::{Disk, Job, Writer};
use crate::core::leader::{Leader, LeaderConfig};
use crate::core::machine::{Machine, Note, Ticket};
use crate::core::server::{Server, ServerConfig};

/// What every node is told, whichever machine it runs.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The host or IPv4 address to listen on; empty: every interface.
    pub bind: String,
    /// The port to listen on; 0: any free one.
    pub port: u16,
    /// Whom calls to the view leader reach: `HOST:PORT`, or `HOST`, whose ports
    /// [`VIEWLEADER_PORTS`] are tried in order.
    pub viewleader: String,
    /// Whether notes about single requests are left out.
    pub quiet: bool,
    /// The limits of its sockets.
    pub limits: Limits,
}

impl Default for NodeOptions {
    fn default() -> Self {
        NodeOptions {
            bind: String::new(),
            port: 0,
            viewleader: "localhost".to_owned(),
            quiet: false,
            limits: Limits::default(),
        }
    }
}

/// A view leader's options.
#[derive(Debug, Clone, Default)]
pub struct LeaderOptions {
    /// Where it listens.
    pub node: NodeOptions,
    /// The machine's options. A start of 0 is replaced by the time.
    pub config: LeaderConfig,
    /// The directory of its record, which is made where there is none; `None`: it keeps none.
    pub data_dir: Option<PathBuf>,
    /// When what is written there is synced.
    pub fsync: Fsync,
}

/// A server's options.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// Where it listens, and its view leader.
    pub node: NodeOptions,
    /// The machine's options. The port is replaced by the real one; a seed of 0 is drawn.
    pub config: ServerConfig,
    /// The directory of its data, which is made where there is none; `None`: they live in memory.
    pub data_dir: Option<PathBuf>,
    /// When what is written there is synced.
    pub fsync: Fsync,
}

/// A handle to a running node; all methods may be called from any thread.
///
/// Dropping it stops the node.
#[derive(Debug)]
pub struct Node {
    port: u16,
    address: String,
    /// The reader of [`Node::notes`].
    notes: NoteSource,
    hub: Hub,
    ending: Arc<Ending>,
    /// Taken by the first who stops the node; whoever comes later waits for the lock.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Node {
    /// Starts a view leader. Errors are those of listening, `InvalidInput` for an address that cannot
    /// be understood, or a [`DiskError`] inside an [`io::Error`] for a directory that is not used.
    pub fn spawn_leader(options: LeaderOptions) -> io::Result<Node> {
        let LeaderOptions { node, mut config, data_dir, fsync } = options;
        if config.started_ms == 0 {
            config.started_ms = since_1970().as_millis() as u64;
        }
        Node::spawn_with(node, move |_| {
            let Some(path) = data_dir else { return Ok((Leader::new(config), Kept::nowhere())) };
            let (directory, record) = Directory::open(&path).map_err(io::Error::other)?;
            let kept = Kept::start(directory, fsync, Jobs::Record)?;
            Ok((Leader::with_record(config, record), kept))
        })
    }

    /// Starts a server. Errors as for a view leader.
    pub fn spawn_server(options: ServerOptions) -> io::Result<Node> {
        let ServerOptions { node, mut config, data_dir, fsync } = options;
        if config.seed == 0 {
            config.seed = random_u64();
        }
        Node::spawn_with(node, move |port| {
            let config = ServerConfig { port, ..config };
            let Some(path) = data_dir else { return Ok((Server::new(config), Kept::nowhere())) };
            let (server, store) = open(&path, config).map_err(io::Error::other)?;
            Ok((server, Kept::start(store, fsync, Jobs::Rows)?))
        })
    }

    /// Starts any machine: listens, then builds it from the real port.
    pub fn spawn<M: Machine + Send + 'static>(
        options: NodeOptions,
        build: impl FnOnce(u16) -> M,
    ) -> io::Result<Node> {
        Node::spawn_with(options, |port| Ok((build(port), Kept::nowhere())))
    }

    fn spawn_with<M: Machine + Send + 'static>(
        options: NodeOptions,
        build: impl FnOnce(u16) -> io::Result<(M, Kept)>,
    ) -> io::Result<Node> {
        let NodeOptions { bind, port, viewleader, quiet, limits } = options;
        let leader = Hosts::parse(&viewleader, VIEWLEADER_PORTS)?;
        let listener = listener::bind(&bind, port)?;
        let address = listener::reachable(listener.local_addr()?);
        let port = address.port();
        let (sink, hub) = notes::channel(limits.notes_max, quiet);
        let notes = hub.enter();
        let ending = Arc::new(Ending::default());
        let (hand_over, handed) = sync_channel::<(M, Kept)>(1);
        let start = {
            let ending = ending.clone();
            move |runtime, listener| {
                let Ok((machine, Kept { jobs, written })) = handed.recv() else { return };
                let _guard = EndsWithThread(ending.clone());
                let (synced, writer) = written.unzip();
                let machine = Box::new(machine);
                let driver = Driver::new(machine, leader, limits, sink, ending, jobs);
                run(runtime, driver, listener, synced);
                // Whoever starts on the directory next finds all that was written, and the lock free.
                // A panic there was told by the end of its messages.
                let _ = writer.map(JoinHandle::join);
            }
        };
        let listen = || TcpListener::from_std(listener);
        let thread = runtime::spawn(format!("dht-{port}"), listen, start)?;
        // Last, as only a node that runs gives a directory free again when it ends.
        match build(port) {
            Ok(built) => drop(hand_over.send(built)),
            Err(error) => {
                drop(hand_over);
                // The port is free again then.
                let _ = thread.join();
                return Err(error);
            }
        }
        let thread = Mutex::new(Some(thread));
        Ok(Node { port, address: address.to_string(), notes, hub, ending, thread })
    }

    /// The port that the node listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port` that this machine can reach the node by.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits up to `timeout` for notes and takes those there are, oldest first; none where none
    /// came, `None` once the node has ended and all are taken.
    pub fn notes(&self, timeout: Duration) -> Option<Vec<Note>> {
        self.notes.take(timeout)
    }

    /// A listener of its own: it takes every note from now on, whatever others take.
    pub fn listen(&self) -> Listener {
        Listener { notes: self.hub.enter(), ending: self.ending.clone() }
    }

    /// Ends the node and waits until it has ended; harmless at any later time.
    ///
    /// It ends between two steps of its machine and says nothing to anybody: replies that wait are
    /// not sent, and the system closes its sockets. To others that is what `kill -9` looks like; a
    /// node that stands still takes no further step before it ends.
    pub fn stop(&self) {
        self.ending.stop.notify_one();
        self.ending.hold.go_on();
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // A panic has been reported on its own thread, and by `failed`.
            let _ = thread.join();
        }
    }

    /// Has the node stand still as `kill -STOP` would: it neither reads, writes nor notices that time
    /// passes, while the system keeps its connections open and takes further ones. Returns once it
    /// does, or has ended; false where it took longer than `timeout`: it will stand still later.
    pub fn pause(&self, timeout: Duration) -> bool {
        self.ending.hold.ask(timeout)
    }

    /// Lets a node go on that stands still; it finds all that has come meanwhile. Harmless at any
    /// other time.
    pub fn resume(&self) {
        self.ending.hold.go_on();
    }

    /// Asks a server to leave the ring: it ends by itself once its data are with others, and says
    /// [`Note::Left`]. A view leader ignores it.
    pub fn leave(&self) {
        self.ending.leave.notify_one();
    }

    /// Waits until the node has ended by itself, at most `timeout`; whether it has.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.ending.wait(timeout)
    }

    /// Why the node ended by itself, where it did other than by leaving; see [`Failure`].
    pub fn failure(&self) -> Option<Failure> {
        self.ending.failure()
    }
}

/// Why a node ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Of a broken invariant in its machine.
    Panicked,
    /// Its disk did not take what it wrote: what the system says.
    Disk(String),
}

/// Takes the notes of a node; it does not keep the node running.
#[derive(Debug)]
pub struct Listener {
    notes: NoteSource,
    ending: Arc<Ending>,
}

impl Listener {
    /// Waits up to `timeout` for notes and takes those there are, oldest first; none where none
    /// came, `None` once the node has ended, or the listener was closed, and all are taken.
    pub fn take(&self, timeout: Duration) -> Option<Vec<Note>> {
        self.notes.take(timeout)
    }

    /// How many notes were dropped because too many waited to be taken.
    pub fn missed(&self) -> u64 {
        self.notes.missed()
    }

    /// Takes no further notes in; whoever waits in [`Listener::take`] goes on at once.
    pub fn close(&self) {
        self.notes.close();
    }

    /// Why the node ended by itself, where it did other than by leaving; see [`Failure`].
    pub fn failure(&self) -> Option<Failure> {
        self.ending.failure()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Says so when the node's thread ends, however that comes.
struct EndsWithThread(Arc<Ending>);

impl Drop for EndsWithThread {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What a disk has synced.
type Synced = UnboundedReceiver<Result<Ticket, String>>;

/// The disk of a node, or none.
struct Kept {
    jobs: Jobs,
    /// What it says, and its thread.
    written: Option<(Synced, JoinHandle<()>)>,
}

impl Kept {
    fn nowhere() -> Self {
        Kept { jobs: Jobs::None, written: None }
    }

    /// Starts the thread of a disk.
    fn start<W: Writer + 'static>(
        writer: W,
        fsync: Fsync,
        jobs: impl FnOnce(Sender<Job<W::Work>>) -> Jobs,
    ) -> io::Result<Self> {
        let (told, synced) = unbounded_channel();
        // Nobody listens any more once the node has ended.
        let disk = Disk::start(writer, fsync, move |result| drop(told.send(result)))?;
        Ok(Kept { jobs: jobs(disk.jobs), written: Some((synced, disk.thread)) })
    }
}

/// A server that goes on from the data in a directory, and the directory.
fn open(path: &Path, config: ServerConfig) -> Result<(Server, Store), DiskError> {
    let mut store = Store::open(path)?;
    let server = store.with_rows(|rows| Server::with_data(config, rows))?;
    store.release()?;
    Ok((server, store))
}

/// The node's thread.
fn run(
    runtime: LocalRuntime,
    driver: std::rc::Rc<Driver>,
    listener: TcpListener,
    synced: Option<Synced>,
) {
    runtime::run(runtime, async {
        tokio::task::spawn_local(listener::accept(driver.clone(), listener));
        if let Some(synced) = synced {
            tokio::task::spawn_local(driver.clone().persisted(synced));
        }
        // A task of its own, so that it is not looked at each time that another task is woken. Where it
        // panics, that has been reported.
        let _ = tokio::task::spawn_local(driver.run()).await;
    });
}

/// A number that nobody else draws: the standard library's random state comes from the system's
/// randomness, and the process and the time keep forked children apart.
pub(super) fn random_u64() -> u64 {
    RandomState::new().hash_one((std::process::id(), since_1970()))
}

/// What the system's clock shows; 0 where it shows a time before 1970.
fn since_1970() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}
