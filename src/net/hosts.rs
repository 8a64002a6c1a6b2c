//! Where somebody listens: `HOST:PORT`, or `HOST` and a range of ports to try in order.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, ToSocketAddrs};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::client::ClientError;
use crate::core::client::OpError;
use crate::core::machine::CallError;
use crate::core::wire::json::Object;
use crate::core::wire::request::only_reads;

/// The ports that servers try in order.
pub const SERVER_PORTS: Range<u16> = 38_000..38_010;

/// The ports that view leaders try in order.
pub const VIEWLEADER_PORTS: Range<u16> = 39_000..39_010;

/// A party that was named by a person, and where it was found last.
#[derive(Debug)]
pub(super) struct Hosts {
    /// As it was given.
    pub(super) name: String,
    /// `host:port` in the order in which they are tried; never empty.
    pub(super) addrs: Vec<String>,
    /// The index in `addrs` where the next search begins.
    first: AtomicUsize,
}

impl Hosts {
    /// Reads `HOST:PORT`, or `HOST`, which stands for all of `ports`.
    pub(super) fn parse(name: &str, ports: Range<u16>) -> io::Result<Self> {
        let addrs: Vec<String> = match name.contains(':') {
            true => vec![name.to_owned()],
            false => ports.map(|port| format!("{name}:{port}")).collect(),
        };
        parse_addr(&addrs[0]).map_err(|_| malformed(name, "HOST or HOST:PORT"))?;
        Ok(Hosts { name: name.to_owned(), addrs, first: AtomicUsize::new(0) })
    }

    /// One address, `host:port`.
    pub(super) fn one(addr: String) -> Self {
        Hosts { name: addr.clone(), addrs: vec![addr], first: AtomicUsize::new(0) }
    }

    /// Says in an error which view leader it is about.
    pub(super) fn name_in(&self, error: OpError) -> OpError {
        match error {
            OpError::NoViewLeader(why) => OpError::NoViewLeader(format!("{}: {why}", self.name)),
            other => other,
        }
    }

    /// Begins a search at the address that answered last.
    pub(super) fn search(&self) -> Search<'_> {
        let first = self.first.load(Ordering::Relaxed);
        Search { hosts: self, first, tried: 0, errors: Vec::new(), reply: None }
    }
}

/// A round of one request over the addresses of a party, for requests that may be no repetition.
#[derive(Debug)]
pub(super) struct Round<'a> {
    hosts: &'a Hosts,
    request: &'a [u8],
    maybe: bool,
}

impl<'a> Round<'a> {
    pub(super) fn new(hosts: &'a Hosts, request: &'a [u8]) -> Self {
        Round { hosts, request, maybe: false }
    }

    /// Takes what an address gave. `Some`: that is the answer. An `error` means that another program
    /// has the port; but where one port was named, it is the answer.
    pub(super) fn judge(&mut self, result: Result<Vec<u8>, CallError>) -> Option<Vec<u8>> {
        self.maybe |= matches!(result, Err(CallError::Lost(_)));
        let alone = self.hosts.addrs.len() == 1;
        result.ok().filter(|reply| !is_error(reply) || (alone && Object::parse(reply).is_ok()))
    }

    /// The error where none was an answer.
    pub(super) fn give_up(self) -> ClientError {
        let name = self.hosts.name.clone();
        if self.maybe {
            ClientError::unanswered(name, only_reads(self.request))
        } else {
            ClientError::Unreachable(name)
        }
    }
}

/// A search for the address that gives a reply without `error`.
#[derive(Debug)]
pub(super) struct Search<'a> {
    hosts: &'a Hosts,
    first: usize,
    tried: usize,
    errors: Vec<CallError>,
    reply: Option<Vec<u8>>,
}

impl<'a> Search<'a> {
    /// The address to try next; `None` where all have been tried.
    pub(super) fn next(&mut self) -> Option<&'a str> {
        let addrs = &self.hosts.addrs;
        (self.tried < addrs.len()).then(|| {
            self.tried += 1;
            addrs[self.at()].as_str()
        })
    }

    /// Takes what the last address gave. `Some`: that is the reply, and where the next search
    /// begins. Where the port was given, an `error` is a reply too.
    pub(super) fn judge(&mut self, result: Result<Vec<u8>, CallError>) -> Option<Vec<u8>> {
        match result {
            Ok(reply) if self.hosts.addrs.len() == 1 || !is_error(&reply) => {
                self.hosts.first.store(self.at(), Ordering::Relaxed);
                return Some(reply);
            }
            Ok(reply) => self.reply = Some(reply),
            Err(error) => self.errors.push(error),
        }
        None
    }

    /// Ends a search that found nobody: the last reply with an `error`, else what can be said for
    /// certain of all. The next search begins anew, or behind the address that used the time up.
    pub(super) fn give_up(self) -> Result<Vec<u8>, CallError> {
        let all = self.tried == self.hosts.addrs.len();
        let first = if all { 0 } else { (self.at() + 1) % self.hosts.addrs.len() };
        self.hosts.first.store(first, Ordering::Relaxed);
        self.reply.ok_or_else(|| strongest(self.errors))
    }

    fn at(&self) -> usize {
        (self.first + self.tried + self.hosts.addrs.len() - 1) % self.hosts.addrs.len()
    }
}

/// What several failed calls amount to: refused only where all were, lost where one may have been
/// delivered.
fn strongest(errors: Vec<CallError>) -> CallError {
    let rank = |error: &CallError| match error {
        CallError::Refused => 0,
        CallError::NotSent(_) => 1,
        CallError::Lost(_) => 2,
    };
    errors.into_iter().max_by_key(rank).unwrap_or(CallError::Refused)
}

/// Reads `host:port` where no name service is needed; `None` where one is.
///
/// `localhost` needs none: it is the loopback address by definition (RFC 6761).
pub(super) fn parse_addr(addr: &str) -> io::Result<Option<SocketAddr>> {
    let parts = addr.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let ip = match parts {
        None => return Err(malformed(addr, "HOST:PORT")),
        Some((host, _)) if host.is_empty() || host.contains(|c: char| c == ':' || c <= ' ') => {
            return Err(malformed(addr, "HOST:PORT"));
        }
        Some(("localhost", _)) => Some(Ipv4Addr::LOCALHOST),
        Some((host, _)) => host.parse().ok(),
    };
    Ok(ip.zip(parts).map(|(ip, (_, port))| SocketAddr::V4(SocketAddrV4::new(ip, port))))
}

fn malformed(addr: &str, form: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{addr:?} is not of the form {form}"))
}

/// The IPv4 addresses of `host:port`; asks the name service and may block.
pub(super) fn resolve(addr: &str) -> io::Result<Vec<SocketAddr>> {
    if let Some(found) = parse_addr(addr)? {
        return Ok(vec![found]);
    }
    only_ipv4(addr, addr.to_socket_addrs()?)
}

/// Keeps the IPv4 addresses, of which there must be one.
pub(super) fn only_ipv4(
    addr: &str,
    found: impl Iterator<Item = SocketAddr>,
) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = found.filter(SocketAddr::is_ipv4).collect();
    if found.is_empty() {
        let why = format!("{addr}: no IPv4 address");
        return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, why));
    }
    Ok(found)
}

/// Refuses a connection to oneself. A port that nobody serves, in the range that outgoing
/// connections get theirs from, can be connected to itself.
pub(super) fn check_other(local: SocketAddr, peer: SocketAddr) -> io::Result<()> {
    if local == peer { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
}

/// Whether a reply says that the request failed, or is no reply of ours at all. Where ports are
/// tried in order, the next is tried then.
pub(super) fn is_error(reply: &[u8]) -> bool {
    Object::parse(reply).map_or(true, |object| object.raw("error").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_port_is_one_address() {
        assert_eq!(Hosts::parse("h:7", VIEWLEADER_PORTS).unwrap().addrs, ["h:7"]);
        let range = Hosts::parse("h", VIEWLEADER_PORTS).unwrap();
        assert_eq!(range.addrs.first().map(String::as_str), Some("h:39000"));
        assert_eq!(range.addrs.last().map(String::as_str), Some("h:39009"));
    }

    #[test]
    fn a_search_begins_where_it_ended_well() {
        let hosts = Hosts::parse("h", VIEWLEADER_PORTS).unwrap();
        let mut search = hosts.search();
        assert_eq!(search.next(), Some("h:39000"));
        assert_eq!(search.judge(Ok(br#"{"error": "x"}"#.to_vec())), None);
        assert_eq!(search.next(), Some("h:39001"));
        assert!(search.judge(Ok(b"{}".to_vec())).is_some());
        let mut search = hosts.search();
        assert_eq!(search.next(), Some("h:39001"));
        assert_eq!(search.judge(Err(CallError::Lost("silent".to_owned()))), None);
        assert_eq!(search.give_up(), Err(CallError::Lost("silent".to_owned())));
        let mut search = hosts.search();
        assert_eq!(search.next(), Some("h:39002"));
        for _ in 0..9 {
            assert_eq!(search.judge(Err(CallError::Refused)), None);
            assert!(search.next().is_some());
        }
        assert_eq!(search.next(), None);
        assert_eq!(search.give_up(), Err(CallError::Refused));
        assert_eq!(hosts.search().next(), Some("h:39000"));
    }

    #[test]
    fn localhost_needs_no_name_service() {
        let found = parse_addr("localhost:80").unwrap().unwrap();
        assert_eq!(found, "127.0.0.1:80".parse().unwrap());
        assert!(parse_addr("example.test:80").unwrap().is_none());
        for wrong in ["nothing", ":80", "h:", "h:x", "h:65536", "a:b:80", "a b:80"] {
            assert!(parse_addr(wrong).is_err(), "{wrong}");
        }
        assert!(Hosts::parse("", VIEWLEADER_PORTS).is_err());
    }

    #[test]
    fn a_connection_to_oneself_is_refused() {
        use socket2::{Domain, Socket, Type};
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        // Nobody listens there, and yet the system connects it.
        let own = socket.local_addr().unwrap();
        socket.connect(&own).unwrap();
        let stream = std::net::TcpStream::from(socket);
        let (local, peer) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let error = check_other(local, peer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let other = SocketAddr::new(peer.ip(), peer.port() ^ 1);
        assert!(check_other(local, other).is_ok());
    }

    #[test]
    fn what_is_not_an_object_counts_as_an_error() {
        assert!(is_error(b"hello"));
        assert!(is_error(br#"{"error": "no cmd in message"}"#));
        assert!(!is_error(br#"{"status": "ok"}"#));
    }
}
