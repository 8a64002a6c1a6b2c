//! The requests of a session that do not go on a line: one after another on each connection.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::dial::is_silent;
use super::exchange::{connect, exchange, later};
use super::limits::Limits;
use super::pool::{Kept, Pool, Reuse};
use crate::core::machine::CallError;

/// Makes calls; its copies share the connections. A call that is dropped closes its connection, so
/// its reply reaches nobody.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    connect: Duration,
    reply_bytes_max: usize,
    pool: Rc<RefCell<Pool<TcpStream>>>,
}

impl Calls {
    pub(super) fn new(limits: &Limits) -> Self {
        Calls {
            connect: Duration::from_millis(limits.connect_ms),
            reply_bytes_max: limits.reply_bytes_max(),
            pool: Rc::new(RefCell::new(Pool::new(limits.pooled_max))),
        }
    }

    /// Sends one request to `host:port` and waits for its reply.
    pub(super) async fn call(
        &self,
        addr: &str,
        message: &[u8],
        reuse: Reuse,
        deadline: Instant,
    ) -> Result<Vec<u8>, CallError> {
        if let Some(kept) = self.take(addr, reuse) {
            match exchange(&kept.stream, message, deadline, self.reply_bytes_max).await {
                Err(error) if reuse.again(&error) && Instant::now() < deadline => {}
                result => {
                    if result.is_ok() {
                        self.pool.borrow_mut().put(addr, kept.further());
                    }
                    return result;
                }
            }
        }
        let stream = connect(addr, deadline.min(later(self.connect))).await?;
        let reply = exchange(&stream, message, deadline, self.reply_bytes_max).await?;
        if reuse != Reuse::Never {
            self.pool.borrow_mut().put(addr, Kept::first(stream, reuse, &reply));
        }
        Ok(reply)
    }

    /// Takes a connection that is still open.
    fn take(&self, addr: &str, reuse: Reuse) -> Option<Kept<TcpStream>> {
        loop {
            let kept = self.pool.borrow_mut().take(addr, reuse)?;
            if is_silent(&kept.stream) {
                return Some(kept);
            }
        }
    }
}
