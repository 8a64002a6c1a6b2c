//! Frames without a reply: one kept-open connection to each server they go to.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::tcp::ReadHalf;
use tokio::time::{Sleep, sleep};

use super::alarm::Alarm;
use super::driver::Driver;
use super::exchange::{connect, later};
use super::frames::poll_discard;
use super::sending::Sending;
use super::turn::Turn;
use crate::core::machine::Input;
use crate::core::wire::frame;

/// How much room an empty queue keeps.
const ROOM_BYTES: usize = 256 * 1024;

/// The connections to other servers, by `host:port`. There are few: to compare is faster than to hash.
#[derive(Debug, Default)]
pub(super) struct Peers(RefCell<BTreeMap<Arc<str>, Rc<Peer>>>);

/// What waits for one server.
#[derive(Debug, Default)]
struct Peer {
    /// Whole frames, not yet being written, and how many.
    queue: RefCell<Vec<u8>>,
    frames: Cell<usize>,
    /// Whether the queue grew over its limit: the connection is given up.
    overflown: Cell<bool>,
    alarm: Alarm,
}

/// Queues a message for a server, and opens the connection where there is none.
///
/// All that a machine sends in one go leaves in one write: the connection's task runs later.
pub(super) fn send(driver: &Rc<Driver>, addr: Arc<str>, message: &[u8]) {
    let mut peers = driver.peers.0.borrow_mut();
    let peer = match peers.get(&addr) {
        Some(peer) => peer,
        None => {
            tokio::task::spawn_local(run(driver.clone(), addr.clone()));
            peers.entry(addr).or_default()
        }
    };
    let mut queue = peer.queue.borrow_mut();
    let room = driver.limits.send_queue_bytes_max.saturating_sub(queue.len());
    if message.len() > room && !queue.is_empty() {
        peer.overflown.set(true);
    } else if !peer.overflown.get() {
        frame::append(&mut queue, message);
        peer.frames.set(peer.frames.get() + 1);
    }
    peer.alarm.ring();
}

/// Carries frames to a server until the connection ends; then the machine is told, and the next
/// frame opens another.
async fn run(driver: Rc<Driver>, addr: Arc<str>) {
    let peer = driver.peers.0.borrow().get(&addr).cloned();
    if let Some(peer) = peer {
        carry(&driver, &addr, &peer).await;
    }
    driver.peers.0.borrow_mut().remove(&addr);
    driver.give(Input::Disconnected { addr: addr.to_string() });
}

async fn carry(driver: &Driver, addr: &str, peer: &Peer) {
    let limits = &driver.limits;
    let opened = connect(addr, later(Duration::from_millis(limits.connect_ms))).await;
    let Ok(mut stream) = opened else { return };
    let (reader, writer) = stream.split();
    let mut carrier = Carrier {
        peer,
        reader,
        // The announcement: what follows are frames of a replica.
        sending: Sending::new(writer, frame::encode(&[frame::PEER_MARK]), ROOM_BYTES),
        stalled: Duration::from_millis(limits.stalled_write_ms),
        many: false,
        turn: Turn::default(),
        timer: None,
    };
    poll_fn(|context| carrier.poll(context)).await;
}

/// The side of the connection that its task sees.
struct Carrier<'a> {
    peer: &'a Peer,
    reader: ReadHalf<'a>,
    sending: Sending<'a>,
    stalled: Duration,
    /// Whether what was taken last were several frames.
    many: bool,
    /// Where it waits for the others' turn before it writes.
    turn: Turn,
    /// Since when the other server takes nothing, and until when; `None`: it takes all.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Carrier<'_> {
    /// Does all that can be done now. Ready once the connection is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.peer.alarm.off();
        if self.peer.overflown.get() {
            return Poll::Ready(());
        }
        if self.many && !self.peer.queue.borrow().is_empty() {
            // Under load more is on its way, and goes along: after a look at what has come meanwhile.
            // With 50 clients there are 0.29 writes to other servers for a `setr` so, and 0.45 without.
            // Where frames come one by one there is nothing to wait for.
            ready!(self.turn.poll(context));
        }
        let written = self.poll_write(context);
        if let Poll::Ready(Err(_)) = written {
            return Poll::Ready(());
        }
        // Nothing is said on this connection; what is read is its end.
        while let Poll::Ready(read) = poll_discard(context, &mut self.reader) {
            if !matches!(read, Ok(1..)) {
                return Poll::Ready(());
            }
        }
        self.peer.alarm.set(context);
        if written.is_ready() {
            self.timer = None;
            return Poll::Pending;
        }
        let stalled = self.stalled;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(stalled)));
        timer.as_mut().poll(context)
    }

    /// Writes what is queued, as far as the other server takes it.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.sending.take(&mut self.peer.queue.borrow_mut()) {
                self.many = self.peer.frames.take() > 1;
            }
            if self.sending.unsent() == 0 {
                return Poll::Ready(Ok(()));
            }
            ready!(self.sending.poll_some(context))?;
            self.timer = None;
        }
    }
}
