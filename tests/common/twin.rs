//! The ring's rule once more, as a plain linear scan: what every test of placement compares with.

use dht::core::hash::Slot;

/// A server: its position and its address.
pub(crate) type Server = (Slot, String);

/// "A key lives on the server with the highest hash strictly less than the key's hash, and on the
/// next two servers up the ring; where no hash is less, the ring wraps, so the first of the three
/// is the server with the highest hash. Three servers or fewer: on all of them, in the same order.
/// Equal hashes: ordered by address text."
pub(crate) fn twin(servers: &[Server], slot: Slot, count: usize) -> Vec<String> {
    let mut chosen: Vec<Server> = Vec::new();
    while chosen.len() < count.min(servers.len()) {
        let next = match chosen.last() {
            None => {
                let below = servers.iter().filter(|server| server.0 < slot).max();
                below.or(servers.iter().max())
            }
            Some(last) => {
                let above = servers.iter().filter(|server| *server > last).min();
                above.or(servers.iter().min())
            }
        };
        chosen.push(next.expect("there are servers left").clone());
    }
    chosen.into_iter().map(|(_, name)| name).collect()
}
