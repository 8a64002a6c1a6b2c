//! Requests and their replies on their way, and what becomes of them.

use std::borrow::Cow;

use super::cluster::Cluster;
use super::network::{Caller, Flight, FlightId, LinkId};
use super::node::{Program, ip_of};
use super::queue::Event;
use super::trace::shown_result;
use crate::core::machine::{CallError, Input, Millis, Origin, ReplyTo};

impl Cluster {
    /// Plans what a caller learns of its request.
    pub(super) fn answer_flight(&mut self, id: FlightId, result: Result<Vec<u8>, CallError>) {
        let Some(flight) = self.network.flights.get(&id) else {
            return;
        };
        let (from, to) = (ip_of(&flight.addr).to_string(), flight.from_ip.clone());
        let may_be_late = !self.faults.call_late_clients;
        let held_ms = may_be_late.then(|| self.faults.holds_up_call(&mut self.rng)).flatten();
        let latency_ms = self.faults.latency_ms(&mut self.rng, &from, &to);
        let arrives_at = self.now + held_ms.unwrap_or(0) + latency_ms;
        self.queue.push(arrives_at, Event::Reply(id, result));
    }

    pub(super) fn request_arrives(&mut self, id: FlightId) {
        let Some(flight) = self.network.flights.get_mut(&id) else {
            return;
        };
        let ip = ip_of(&flight.addr);
        let link = flight.link.map(|link| &mut self.network.links[link]);
        // A connection needs both directions to be opened, and one to be used.
        let open = link.as_ref().is_some_and(|link| link.peer.is_some());
        if self.faults.stops(&flight.from_ip, ip)
            || (!open && self.faults.stops(ip, &flight.from_ip))
        {
            flight.swallowed = true;
            return;
        }
        // What was held up had left before the connection broke.
        if link.as_ref().is_some_and(|link| link.broken) && !flight.held_up {
            return self.answer_flight(id, Err(closed()));
        }
        let listener = self.network.listening.get(&flight.addr).copied();
        let Some(process) = link.as_ref().and_then(|link| link.peer).or(listener) else {
            return self.answer_flight(id, Err(CallError::Refused));
        };
        if self.faults.loses_request(&mut self.rng) {
            return self.connection_breaks(id);
        }
        if let Some(link) = link {
            link.peer.get_or_insert(process);
        }
        flight.given_to = Some(process);
        let origin =
            Origin { peer_ip: flight.from_ip.clone().into(), local_ip: ip.to_string().into() };
        let (origin, message) = (Cow::Owned(origin), Cow::Owned(flight.message.clone()));
        let to = ReplyTo(self.network.fresh());
        self.network.asked.insert(to, (process, id));
        self.deliver(process, Input::Frame { to, origin, message });
    }

    pub(super) fn reply_arrives(&mut self, id: FlightId, result: Result<Vec<u8>, CallError>) {
        let Some(flight) = self.network.flights.get_mut(&id) else {
            return;
        };
        if self.faults.stops(ip_of(&flight.addr), &flight.from_ip) {
            flight.swallowed = true;
            return;
        }
        if result.is_ok() && self.faults.loses_reply(&mut self.rng) {
            return self.connection_breaks(id);
        }
        self.end_flight(id, result);
    }

    /// The connection breaks that a request or its reply was on: with it all that is asked on it.
    fn connection_breaks(&mut self, id: FlightId) {
        let Some(link) = self.network.flights.get(&id).and_then(|flight| flight.link) else {
            return self.answer_flight(id, Err(closed()));
        };
        self.break_link(link);
        for flight in self.network.flights_on(link) {
            self.answer_flight(flight, Err(closed()));
        }
    }

    /// A kept-open connection leads nowhere from now on; its owner learns that.
    pub(super) fn break_link(&mut self, id: LinkId) {
        let link = &mut self.network.links[id];
        if std::mem::replace(&mut link.broken, true) {
            return;
        }
        let (from, owner) = (ip_of(&link.addr).to_string(), link.owner.node);
        let to = self.nodes[owner].ip().to_string();
        self.after_latency(&from, &to, Event::Closed(id));
    }

    pub(super) fn patience_ends(&mut self, id: u64) {
        let Some(flight) = self.network.flights.get(&id) else {
            return;
        };
        let connected = flight.link.is_some_and(|link| self.network.links[link].peer.is_some());
        let error = if connected || flight.held_up || flight.given_to.is_some() {
            CallError::Lost("timed out".to_string())
        } else {
            CallError::NotSent("timed out while connecting".to_string())
        };
        self.end_flight(id, Err(error));
    }

    fn end_flight(&mut self, id: u64, result: Result<Vec<u8>, CallError>) {
        let flight = self.network.flights.get_mut(&id).expect("a flight ends once");
        let caller = std::mem::replace(&mut flight.caller, Caller::Nobody);
        // One that is held up will arrive though nobody waits for it.
        let arrives = flight.held_up && flight.given_to.is_none() && result.is_err();
        if !arrives {
            self.network.flights.remove(&id);
        }
        self.tell(caller, result);
    }

    /// A caller learns what became of its request.
    fn tell(&mut self, caller: Caller, result: Result<Vec<u8>, CallError>) {
        match caller {
            Caller::Nobody => {}
            Caller::Process(process, call) => {
                self.deliver(process, Input::Returned { call, result });
            }
            Caller::Outside(ticket) => {
                self.trace.add(self.now, || format!("outside < {}", shown_result(&result)));
                self.network.answers.insert(ticket, result);
                self.ended += 1;
            }
        }
    }

    /// Sends a request on its way.
    pub(super) fn launch(&mut self, mut flight: Flight, timeout_ms: Millis) {
        let id = self.network.fresh();
        let (from, to) = (flight.from_ip.clone(), ip_of(&flight.addr).to_string());
        let of_client = match flight.caller {
            Caller::Process(process, _) => {
                matches!(self.nodes[process.node].program, Some(Program::Client(_)))
            }
            _ => false,
        };
        let may_be_late = of_client || !self.faults.call_late_clients;
        let held_ms = may_be_late.then(|| self.faults.holds_up_call(&mut self.rng)).flatten();
        flight.held_up = held_ms.is_some();
        self.network.flights.insert(id, flight);
        let latency_ms = self.faults.latency_ms(&mut self.rng, &from, &to);
        self.queue.push(self.now + held_ms.unwrap_or(0) + latency_ms, Event::Request(id));
        self.queue.push(self.now + timeout_ms, Event::Expire(id));
    }
}

/// What a caller learns when a connection ends under its request.
pub(super) fn closed() -> CallError {
    CallError::Lost("connection closed".to_string())
}
