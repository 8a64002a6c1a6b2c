//! Which server a name belongs to, as the view leader says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use dht::core::assignment::ViewExtension;
use dht::core::hash::SLOT_COUNT;
use dht::core::wire::frame;
use dht::core::wire::json::Object;

/// How many copies a range must have before it is loaded.
const COPIES: usize = 3;

/// A place of a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Index of the primary among [`Ring::addresses`].
    pub(crate) primary: usize,
    /// The revision that a client has to name.
    pub(crate) revision: u64,
    /// Who holds it.
    pub(crate) holders: Vec<String>,
}

/// The assignment.
#[derive(Debug)]
pub(crate) struct Ring {
    leader: SocketAddr,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) places: Vec<Place>,
}

impl Ring {
    /// Asks the view leader, whose view must have a primary for each slot, and three servers where
    /// it has as many.
    pub(crate) fn ask(leader: SocketAddr) -> Result<Ring, String> {
        let places = vec![Place::default(); usize::from(SLOT_COUNT)];
        let mut ring = Ring { leader, addresses: Vec::new(), places };
        ring.learn()?;
        for place in &ring.places {
            if place.holders.len() < COPIES.min(ring.addresses.len()) {
                return Err("the ring is not settled yet".to_owned());
            }
        }
        Ok(ring)
    }

    /// Asks again.
    pub(crate) fn learn(&mut self) -> Result<(), String> {
        let reply = call(self.leader, br#"{"cmd": "query_servers", "dht": 1}"#)?;
        let object = Object::parse(&reply).map_err(|error| error.to_string())?;
        let view: ViewExtension = object.decode("dht").ok_or("no view of ours")?;
        for range in &view.ranges {
            let holders = range.3.iter().filter_map(|index| view.servers.get(*index as usize));
            let holders: Vec<String> = holders.map(|(_, addr, _)| addr.clone()).collect();
            let primary = self.index(holders.first().ok_or("a range without a server")?)?;
            let place = Place { primary, revision: range.2, holders };
            self.places[usize::from(range.0)..usize::from(range.1)].fill(place);
        }
        Ok(())
    }

    fn index(&mut self, addr: &str) -> Result<usize, String> {
        let addr = addr.parse().map_err(|_| format!("{addr} is no address"))?;
        let known = self.addresses.iter().position(|known| *known == addr);
        Ok(known.unwrap_or_else(|| {
            self.addresses.push(addr);
            self.addresses.len() - 1
        }))
    }
}

/// One request and its reply, on a connection of its own.
pub(crate) fn call(addr: SocketAddr, message: &[u8]) -> Result<Vec<u8>, String> {
    let talk = || {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(&frame::encode(message))?;
        let mut header = [0; frame::HEADER_BYTES];
        stream.read_exact(&mut header)?;
        let length = usize::try_from(i32::from_be_bytes(header)).unwrap_or(0);
        let mut reply = vec![0; length];
        stream.read_exact(&mut reply)?;
        Ok(reply)
    };
    talk().map_err(|error: std::io::Error| format!("{addr}: {error}"))
}
