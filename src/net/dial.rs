//! Calls: a request to another party, on a pooled connection or on one of its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::rc::Rc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::driver::Driver;
use super::exchange::{connect, exchange, later};
use super::hosts::Hosts;
use crate::core::machine::{CallError, CallId, Input, Target};

/// A call as the machine asked for it.
pub(super) struct Request {
    pub(super) call: CallId,
    pub(super) target: Target,
    pub(super) message: Vec<u8>,
    pub(super) timeout: Duration,
    pub(super) keep: bool,
}

/// The connections that wait for a further call, and where the view leader is.
#[derive(Debug)]
pub(super) struct Dialer {
    leader: Hosts,
    idle: RefCell<HashMap<String, Vec<Rc<Idle>>>>,
}

/// A pooled connection that nobody uses. Its watcher reads, to see its end at once.
#[derive(Debug)]
struct Idle {
    stream: Rc<TcpStream>,
    taken: Notify,
}

impl Dialer {
    pub(super) fn new(leader: Hosts) -> Self {
        Dialer { leader, idle: RefCell::default() }
    }

    /// Takes a connection on which nothing has come since its last reply, its end included.
    fn take(&self, addr: &str) -> Option<Rc<TcpStream>> {
        loop {
            let idle = self.idle.borrow_mut().get_mut(addr)?.pop()?;
            if is_silent(&idle.stream) {
                idle.taken.notify_one();
                return Some(idle.stream.clone());
            }
            // Its watcher, which has not had its turn yet, tells the machine.
        }
    }

    fn remove(&self, addr: &str, idle: &Rc<Idle>) {
        let mut all = self.idle.borrow_mut();
        if let Some(list) = all.get_mut(addr) {
            list.retain(|other| !Rc::ptr_eq(other, idle));
            if list.is_empty() {
                all.remove(addr);
            }
        }
    }
}

/// Whether the connection is open and has nothing to read. Asks the system, which knows before the
/// runtime does.
pub(super) fn is_silent(stream: &TcpStream) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    let peeked = SockRef::from(stream).peek(&mut byte);
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Makes a call and tells the machine how it ended.
pub(super) async fn call(driver: Rc<Driver>, request: Request) {
    let deadline = later(request.timeout);
    let result = match &request.target {
        Target::Addr(addr) => call_addr(&driver, addr, &request, deadline).await,
        Target::Leader => call_leader(&driver, &request, deadline).await,
    };
    driver.give(Input::Returned { call: request.call, result });
}

/// Tries the leader's addresses in order until one gives a reply without `error`.
async fn call_leader(
    driver: &Rc<Driver>,
    request: &Request,
    deadline: Instant,
) -> Result<Vec<u8>, CallError> {
    let mut search = driver.dialer.leader.search();
    while Instant::now() < deadline
        && let Some(addr) = search.next()
    {
        let result = call_addr(driver, addr, request, deadline).await;
        if let Some(reply) = search.judge(result) {
            return Ok(reply);
        }
    }
    search.give_up()
}

async fn call_addr(
    driver: &Rc<Driver>,
    addr: &str,
    request: &Request,
    deadline: Instant,
) -> Result<Vec<u8>, CallError> {
    let pooled = if request.keep { driver.dialer.take(addr) } else { None };
    let stream = match pooled {
        Some(stream) => stream,
        None => {
            let limit = later(Duration::from_millis(driver.limits.connect_ms));
            Rc::new(connect(addr, deadline.min(limit)).await?)
        }
    };
    let reply_bytes_max = driver.limits.reply_bytes_max();
    let reply = exchange(&stream, &request.message, deadline, reply_bytes_max).await?;
    if request.keep {
        keep(driver, addr, stream);
    }
    Ok(reply)
}

/// Puts a connection into the pool, and watches it there.
fn keep(driver: &Rc<Driver>, addr: &str, stream: Rc<TcpStream>) {
    let idle = Rc::new(Idle { stream, taken: Notify::new() });
    {
        let mut all = driver.dialer.idle.borrow_mut();
        let list = all.entry(addr.to_owned()).or_default();
        if list.len() >= driver.limits.pooled_max {
            return;
        }
        list.push(idle.clone());
    }
    tokio::task::spawn_local(watch(driver.clone(), addr.to_owned(), idle));
}

/// Waits until the connection is used again or ends; its end is the machine's to know at once.
async fn watch(driver: Rc<Driver>, addr: String, idle: Rc<Idle>) {
    let ended = async {
        // The stream counts as readable until a read finds nothing, so ask until it does.
        while idle.stream.readable().await.is_ok() {
            let read = idle.stream.try_read(&mut [0]);
            if !read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                break;
            }
        }
    };
    tokio::select! {
        biased;
        () = idle.taken.notified() => {}
        () = ended => {
            driver.dialer.remove(&addr, &idle);
            driver.give(Input::Disconnected { addr });
        }
    }
}
