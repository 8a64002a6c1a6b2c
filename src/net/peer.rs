//! Frames without a reply: one kept-open connection to each server they go to.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::mem;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::driver::Driver;
use super::exchange::{connect, later};
use super::frames::poll_discard;
use crate::core::machine::Input;
use crate::core::wire::frame;

/// How much room an empty queue keeps.
const ROOM_BYTES: usize = 256 * 1024;

/// The connections to other servers, by `host:port`.
#[derive(Debug, Default)]
pub(super) struct Peers(RefCell<HashMap<String, Rc<Peer>>>);

/// What waits for one server.
#[derive(Debug, Default)]
struct Peer {
    /// Whole frames, not yet being written.
    queue: RefCell<Vec<u8>>,
    /// Whether the queue grew over its limit: the connection is given up.
    overflown: Cell<bool>,
    wake: Notify,
}

/// Queues a message for a server, and opens the connection where there is none.
///
/// All that a machine sends in one go leaves in one write: the connection's task runs later.
pub(super) fn send(driver: &Rc<Driver>, addr: String, message: &[u8]) {
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
    }
    peer.wake.notify_one();
}

/// Carries frames to a server until the connection ends; then the machine is told, and the next
/// frame opens another.
async fn run(driver: Rc<Driver>, addr: String) {
    let peer = driver.peers.0.borrow().get(&addr).cloned();
    if let Some(peer) = peer {
        carry(&driver, &addr, &peer).await;
    }
    driver.peers.0.borrow_mut().remove(&addr);
    driver.give(Input::Disconnected { addr });
}

async fn carry(driver: &Driver, addr: &str, peer: &Peer) {
    let limits = &driver.limits;
    let opened = connect(addr, later(Duration::from_millis(limits.connect_ms))).await;
    let Ok(mut stream) = opened else { return };
    let (mut reader, mut writer) = stream.split();
    let stalled = Duration::from_millis(limits.stalled_write_ms);
    // The announcement: what follows are frames of a replica.
    let mut writing = frame::encode(&[frame::PEER_MARK]);
    let mut written = 0;
    let mut wrote_at = Instant::now();
    while !peer.overflown.get() {
        if written == writing.len() {
            writing.clear();
            writing.shrink_to(ROOM_BYTES);
            written = 0;
            wrote_at = Instant::now();
            mem::swap(&mut writing, &mut peer.queue.borrow_mut());
        }
        let busy = written < writing.len();
        tokio::select! {
            biased;
            sent = writer.write(&writing[written..]), if busy => match sent {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    written += count;
                    wrote_at = Instant::now();
                }
            },
            // Nothing is said on this connection; what is read is its end.
            read = poll_fn(|context| poll_discard(context, &mut reader)) => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
            }
            () = peer.wake.notified() => {}
            () = sleep_until(wrote_at + stalled), if busy => return,
        }
    }
}
