//! Connections at rest, kept open for the next request to the same address.
//!
//! A party of the original closes its connection after one reply, perhaps only after we have looked
//! whether it is still open. So a request that must not be sent twice goes on such a connection
//! only if its other end is known to keep it: it has said so, with the field `dht` in a reply, or
//! has answered a second request on it. What only reads may be sent on any, and again on a new one.

use std::collections::HashMap;

use crate::core::machine::CallError;
use crate::core::wire::json::Object;
use crate::core::wire::request::only_reads;

/// Which connections a request may go on, beside a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reuse {
    /// None, and its own is not used again.
    Never,
    /// Those whose other end is known to keep them: it does something.
    Proven,
    /// All: it only reads, and may be sent again.
    Any,
    /// All: the sender knows that this party keeps its connections.
    Known,
}

impl Reuse {
    /// What is right for a request that is sent as it is.
    pub(super) fn of(message: &[u8]) -> Reuse {
        if only_reads(message) { Reuse::Any } else { Reuse::Proven }
    }

    /// Whether to send it again, on a new connection, after it failed on one that was used before.
    pub(super) fn again(self, error: &CallError) -> bool {
        match error {
            CallError::NotSent(_) | CallError::Refused => true,
            CallError::Lost(_) => self == Reuse::Any,
        }
    }
}

/// A connection on which a request has been answered.
#[derive(Debug)]
pub(super) struct Kept<S> {
    pub(super) stream: S,
    proven: bool,
}

impl<S> Kept<S> {
    /// A connection after the first reply on it; what it asked `Never` does not get here.
    pub(super) fn first(stream: S, reuse: Reuse, reply: &[u8]) -> Self {
        let said = || Object::parse(reply).is_ok_and(|reply| reply.raw("dht").is_some());
        Kept { stream, proven: reuse == Reuse::Known || said() }
    }

    /// Whether a request may go on it without a look whether it is still open, which costs a system
    /// call: it most likely is, and if not, the request is sent again on a new one.
    pub(super) fn needs_no_look(&self, reuse: Reuse) -> bool {
        self.proven && reuse == Reuse::Any
    }

    /// The same after a further reply.
    pub(super) fn further(self) -> Self {
        Kept { proven: true, ..self }
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Pool<S> {
    /// By `host:port`; no list is empty.
    kept: HashMap<String, Vec<Kept<S>>>,
    /// How many are kept to one address.
    max: usize,
}

impl<S> Pool<S> {
    pub(super) fn new(max: usize) -> Self {
        Pool { kept: HashMap::new(), max }
    }

    /// Takes the connection that was used last; whether it is still open is for the taker to see.
    pub(super) fn take(&mut self, addr: &str, reuse: Reuse) -> Option<Kept<S>> {
        let list = self.kept.get_mut(addr)?;
        let at = match reuse {
            Reuse::Never => None,
            Reuse::Proven => list.iter().rposition(|kept| kept.proven),
            Reuse::Any | Reuse::Known => list.len().checked_sub(1),
        };
        let kept = list.remove(at?);
        if list.is_empty() {
            self.kept.remove(addr);
        }
        Some(kept)
    }

    /// Keeps a connection, unless there are enough; one that is not proven makes room for one that is.
    pub(super) fn put(&mut self, addr: &str, kept: Kept<S>) {
        let Some(list) = self.kept.get_mut(addr) else {
            self.kept.insert(addr.to_owned(), vec![kept]);
            return;
        };
        if list.len() >= self.max {
            let Some(at) = list.iter().position(|old| kept.proven && !old.proven) else {
                return;
            };
            list.remove(at);
        }
        list.push(kept);
    }

    /// Closes all.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(number: u32, reply: &str) -> Kept<u32> {
        Kept::first(number, Reuse::Proven, reply.as_bytes())
    }

    fn take(pool: &mut Pool<u32>, reuse: Reuse) -> Option<u32> {
        pool.take("a", reuse).map(|kept| kept.stream)
    }

    #[test]
    fn what_does_something_takes_a_proven_connection() {
        let mut pool = Pool::new(4);
        pool.put("a", first(1, r#"{"status": "ok", "dht": {"version": 1}}"#));
        pool.put("a", first(2, r#"{"status": "ok"}"#));
        pool.put("a", first(3, "{}").further());
        pool.put("b", first(4, "{}"));
        assert_eq!(take(&mut pool, Reuse::Never), None);
        assert_eq!(take(&mut pool, Reuse::Proven), Some(3));
        assert_eq!(take(&mut pool, Reuse::Proven), Some(1));
        assert_eq!(take(&mut pool, Reuse::Proven), None);
        assert_eq!(take(&mut pool, Reuse::Any), Some(2));
        assert_eq!(take(&mut pool, Reuse::Any), None);
    }

    #[test]
    fn a_full_pool_prefers_proven_connections() {
        let mut pool = Pool::new(2);
        for number in 1..=3 {
            pool.put("a", first(number, "{}"));
        }
        pool.put("a", first(4, "{}").further());
        assert_eq!(take(&mut pool, Reuse::Any), Some(4));
        assert_eq!(take(&mut pool, Reuse::Any), Some(2));
        assert_eq!(take(&mut pool, Reuse::Any), None);
    }

    #[test]
    fn what_may_be_sent_twice() {
        for (request, reuse) in [
            (r#"{"cmd": "get", "key": "a"}"#, Reuse::Any),
            (r#"{"cmd": "query_servers"}"#, Reuse::Any),
            (r#"{"cmd": "set", "key": "a", "val": 1}"#, Reuse::Proven),
            (r#"{"cmd": "lock_get", "lockid": 1, "requestor": 1}"#, Reuse::Proven),
            (r#"{"cmd": "print", "text": []}"#, Reuse::Proven),
            ("no request", Reuse::Proven),
        ] {
            assert_eq!(Reuse::of(request.as_bytes()), reuse, "{request}");
        }
        let known = first(1, r#"{"dht": {"version": 1}}"#);
        assert!(known.needs_no_look(Reuse::Any));
        assert!(!known.needs_no_look(Reuse::Proven) && !known.needs_no_look(Reuse::Known));
        assert!(!first(1, "{}").needs_no_look(Reuse::Any), "it may be closed after each reply");
        assert!(Reuse::Any.again(&CallError::Lost(String::new())));
        assert!(!Reuse::Proven.again(&CallError::Lost(String::new())));
        assert!(Reuse::Proven.again(&CallError::NotSent(String::new())));
    }
}
