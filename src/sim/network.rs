//! Who listens where, which requests are under way, which connections are open: tables without
//! behaviour, kept by [`super::Cluster`].

use std::collections::BTreeMap;

use super::ask::Ticket;
use super::node::ProcessId;
use crate::core::machine::{CallError, CallId, Millis, ReplyTo};

/// Names a request that is under way.
pub(super) type FlightId = u64;

/// Names a kept-open connection; an index.
pub(super) type LinkId = usize;

/// Who waits for a reply.
#[derive(Debug, Clone, Copy)]
pub(super) enum Caller {
    /// A machine's call.
    Process(ProcessId, CallId),
    /// Somebody outside the cluster.
    Outside(Ticket),
    /// Nobody any more: who asked has given up.
    Nobody,
}

/// A request that is under way, or its reply.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) caller: Caller,
    pub(super) from_ip: String,
    pub(super) addr: String,
    pub(super) message: Vec<u8>,
    /// The kept-open connection that it uses; `None`: one of its own.
    pub(super) link: Option<LinkId>,
    /// It is held up on its way, and will arrive whether or not anybody waits for it.
    pub(super) held_up: bool,
    /// Who was given it.
    pub(super) given_to: Option<ProcessId>,
    /// Whether a cut has swallowed it, or its reply: its caller waits in vain.
    pub(super) swallowed: bool,
}

impl Flight {
    /// A request on a connection of its own.
    pub(super) fn new(caller: Caller, from_ip: String, addr: String, message: Vec<u8>) -> Self {
        let (link, held_up, given_to, swallowed) = (None, false, None, false);
        Flight { caller, from_ip, addr, message, link, held_up, given_to, swallowed }
    }
}

/// A kept-open connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) owner: ProcessId,
    pub(super) addr: String,
    /// The process at the other end; `None`: still connecting.
    pub(super) peer: Option<ProcessId>,
    /// When the last frame sent on it arrives; later ones do not overtake it.
    pub(super) last_arrival: Millis,
    /// It leads nowhere, whether or not its owner knows.
    pub(super) broken: bool,
}

/// The tables.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// Processes that listen, by address.
    pub(super) listening: BTreeMap<String, ProcessId>,
    pub(super) flights: BTreeMap<FlightId, Flight>,
    /// Which request a machine was given under which name.
    pub(super) asked: BTreeMap<ReplyTo, (ProcessId, FlightId)>,
    pub(super) links: Vec<Link>,
    /// The connections that their owners believe to be open.
    pub(super) open: BTreeMap<(ProcessId, String), LinkId>,
    /// What came back to those outside.
    pub(super) answers: BTreeMap<Ticket, Result<Vec<u8>, CallError>>,
    names: u64,
}

impl Network {
    /// A number that names nothing else.
    pub(super) fn fresh(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    /// The owner's kept-open connection to `addr`, opened where there is none.
    pub(super) fn link(&mut self, owner: ProcessId, addr: &str) -> LinkId {
        let next = self.links.len();
        let link = *self.open.entry((owner, addr.to_string())).or_insert(next);
        if link == next {
            let addr = addr.to_string();
            self.links.push(Link { owner, addr, peer: None, last_arrival: 0, broken: false });
        }
        link
    }

    /// The connections to a process.
    pub(super) fn links_to(&self, process: ProcessId) -> Vec<LinkId> {
        let links = self.links.iter().enumerate();
        let to = links.filter(|(_, link)| link.peer == Some(process) && !link.broken);
        to.map(|(id, _)| id).collect()
    }

    /// The requests that are under way on a connection.
    pub(super) fn flights_on(&self, link: LinkId) -> Vec<FlightId> {
        let on = self.flights.iter().filter(|(_, flight)| flight.link == Some(link));
        on.map(|(id, _)| *id).collect()
    }

    /// The requests that a process which has died was given and has not answered.
    pub(super) fn forget_asked_of(&mut self, dead: ProcessId) -> Vec<FlightId> {
        self.asked.retain(|_, (process, _)| *process != dead);
        let lost = self.flights.iter().filter(|(_, flight)| flight.given_to == Some(dead));
        lost.map(|(id, _)| *id).collect()
    }
}
