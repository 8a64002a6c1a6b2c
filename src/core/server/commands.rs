//! Requests to a server: the original's commands, and ours.

use super::holds::Role;
use super::reads::Read;
use super::writes::Write;
use super::{Forward, Out, Purpose, Server, said};
use crate::core::assignment::{HelloReply, Snapshot};
use crate::core::client::{Client, Op, OpError, Outcome};
use crate::core::hash::slot_of;
use crate::core::machine::{Millis, Note, Origin, Output, ReplyTo, Then};
use crate::core::planted::{Planted, planted};
use crate::core::reply::{self, Reply};
use crate::core::wire::frame::PEER_MARK;
use crate::core::wire::json::Json;
use crate::core::wire::received::Received;
use crate::core::wire::request::{Command, EXTENSION_VERSION, PROGRAM_VERSION, Request};
use crate::core::wire::text::{Text, write_json};

impl Server {
    /// A frame came in.
    pub(super) fn frame(
        &mut self,
        now: Millis,
        to: ReplyTo,
        origin: &Origin,
        message: &[u8],
        out: &mut Out,
    ) {
        if message.first() == Some(&PEER_MARK) {
            return match Received::decode(message) {
                Some(message) => self.message(now, message, out),
                None => self.bad_frame(origin, "broken message of a replica".to_string(), out),
            };
        }
        let request = match Request::parse(message) {
            Ok(request) => request,
            Err(error) => {
                self.bad_frame(origin, error.to_string(), out);
                let message = reply::error(&error);
                return out.push(Output::Reply { to, message, then: Then::Close });
            }
        };
        let then = if request.extended { Then::Keep } else { Then::Linger };
        if request.command.is_of_data() {
            self.pace.asked(now);
        }
        self.command(now, to, then, origin, request.command, out);
    }

    fn bad_frame(&mut self, origin: &Origin, why: String, out: &mut Out) {
        out.push(Output::Note(Note::BadFrame { peer_ip: origin.peer_ip.to_string(), why }));
    }

    fn command(
        &mut self,
        now: Millis,
        to: ReplyTo,
        then: Then,
        origin: &Origin,
        command: Command<'_>,
        out: &mut Out,
    ) {
        let reply = match command {
            Command::Set { key, value } => {
                self.note_setting(&key, &value, out);
                self.local.set(&key, &value);
                self.promise(out);
                Reply::status("ok").keeps(then == Then::Keep)
            }
            Command::Get { key } => self.get(&key, out),
            Command::QueryAllKeys => self.query_all_keys(then == Then::Keep, out),
            Command::Print { words } => {
                // Whom it asks to print does so, quiet or not.
                out.push(Output::Note(Note::Printing { words }));
                Reply::status("ok").keeps(then == Then::Keep)
            }
            Command::Timeout => Reply::new(),
            Command::SetrRequest { key } => self.vote(now, &key, &origin.peer_ip),
            Command::SetrDeny { key } => {
                self.votes.deny(now, &key, &origin.peer_ip);
                Reply::new()
            }
            Command::Setr { key, value } => {
                return self.setr(now, to, then, origin, key, value, out);
            }
            Command::Write { key, value, extension } => {
                return match said::of_write(extension) {
                    Ok(said) => self.write(now, Write { to, key, value, said }, out),
                    Err(error) => self.broken(to, "dht_write", &error, out),
                };
            }
            Command::Read { key, extension } => {
                return match said::of_read(extension) {
                    Ok(said) => self.read(now, Read { to, key, said }, out),
                    Err(error) => self.broken(to, "dht_read", &error, out),
                };
            }
            Command::Assign { extension } => {
                return match serde_json::from_str::<Snapshot>(extension) {
                    Ok(snapshot) => self.assigned(now, to, snapshot, out),
                    Err(error) => self.broken(to, "dht_assign", &error, out),
                };
            }
            Command::Hello => {
                // A leader that asks may have been started again and not know us.
                self.heartbeat_soon(now);
                let hello = HelloReply { id: Some(self.id.clone()), was: self.was.clone() };
                Reply::status("ok").text("role", "server").value("dht", &hello)
            }
            Command::Stats => self.stats(),
            Command::Leave => {
                // Answered first: it may be over at once.
                self.reply(to, self.leave_reply(), then, out);
                return self.leave(now, out);
            }
            Command::Heartbeat { .. }
            | Command::QueryServers
            | Command::LockGet { .. }
            | Command::LockRelease { .. }
            | Command::Report { .. }
            | Command::Status => {
                let why = "this is a server; the command is one for view leaders";
                let message = reply::error(&why);
                return out.push(Output::Reply { to, message, then: Then::Close });
            }
        };
        self.reply(to, reply, then, out);
    }

    fn broken(&mut self, to: ReplyTo, command: &str, error: &serde_json::Error, out: &mut Out) {
        let message = reply::error(&format!("broken dht field in {command}: {error}"));
        out.push(Output::Reply { to, message, then: Then::Close });
    }

    fn assigned(&mut self, now: Millis, to: ReplyTo, snapshot: Snapshot, out: &mut Out) {
        let reply = if snapshot.you.as_ref() == Some(&self.id) {
            let answer = self.assign(now, snapshot, out);
            Reply::status("ok").value("dht", &answer)
        } else {
            Reply::status("no").text("reason", "another server")
        };
        self.reply(to, reply, Then::Keep, out);
    }

    fn get(&self, key: &[u8], out: &mut Out) -> Reply {
        let text = || Text::from_wtf8(key.to_vec());
        match self.local.later(key, || self.store.get(slot_of(key), key)) {
            Some(value) => {
                self.note(|| Note::Querying { key: text() }, out);
                Reply::status("ok").raw_bytes("value", value)
            }
            None => {
                self.note(|| Note::NotFound { key: text() }, out);
                Reply::status("not_found")
            }
        }
    }

    /// All names; to one of ours also which of them the ring does not have from here.
    fn query_all_keys(&mut self, ours: bool, out: &mut Out) -> Reply {
        self.note(|| Note::AllKeys, out);
        let reply =
            Reply::new().raw("result", &sorted(self.store.names().chain(self.local.names())));
        if !ours {
            return reply;
        }
        let own = self.local.names().filter(|name| self.store.get(slot_of(name), name).is_none());
        let own = sorted(own);
        reply.raw("dht", &format!("{{\"version\": {EXTENSION_VERSION}, \"own\": {own}}}"))
    }

    /// Says that a value is held which a client just wrote.
    pub(super) fn note_setting(&self, key: &[u8], value: &str, out: &mut Out) {
        let key = || Text::from_wtf8(key.to_vec());
        self.note(|| Note::Setting { key: key(), value: Json::from_raw(value) }, out);
    }

    /// Says what somebody may want to know, unless nobody does: then it is not even made.
    fn note(&self, note: impl FnOnce() -> Note, out: &mut Out) {
        if !self.config.quiet {
            out.push(Output::Note(note()));
        }
    }

    /// The original's first phase.
    fn vote(&mut self, now: Millis, key: &Text, owner: &str) -> Reply {
        let until = now + self.config.reservation_ms;
        let being_written = self.writes.has(slot_of(key.as_bytes()), key);
        if self.votes.request(now, until, key, owner, being_written) {
            Reply::new().text("reply", "ok").number("epoch", self.epoch())
        } else {
            Reply::new().text("reply", "no")
        }
    }

    /// The original's second phase: the first `setr` to reach any replica asks the primary to
    /// write, the others of the same transaction find it done.
    #[expect(clippy::too_many_arguments, reason = "a request and where it came from")]
    fn setr(
        &mut self,
        now: Millis,
        to: ReplyTo,
        then: Then,
        origin: &Origin,
        key: Text,
        value: Json,
        out: &mut Out,
    ) {
        let owner = origin.peer_ip.to_string();
        if self.leader_speaks.is_none() && !self.leader_absent {
            let message = reply::error(&"not in a view yet; try again");
            return out.push(Output::Reply { to, message, then });
        }
        if self.leader_speaks != Some(true) {
            // Without a view leader of ours there is nobody to decide: as in the original.
            self.votes.release(&key, &owner);
            self.note_setting(key.as_bytes(), value.as_str(), out);
            self.local.set_without_ring(key.as_bytes(), &value);
            self.promise(out);
            return self.reply(to, Reply::new(), then, out);
        }
        // Another `setr` of the same transaction asks for the same write: it is answered when that
        // is acknowledged, and executed once.
        let begun = self.votes.begun(now, &key, &owner, &value);
        if planted(Planted::VoteIsWrite) && begun.is_some() {
            return self.reply(to, Reply::new(), then, out);
        }
        let begun = begun.map(|written| (written.id, written.revision));
        let voted = begun.is_some() || self.votes.backs(now, &key, &owner);
        let op = Op::Write { key: key.clone(), value };
        let begin =
            |client: &mut Client, out: &mut Out| client.begin_voted(now, op, voted, begun, out);
        let op = self.drive_forwarder_with(begin, out);
        self.forwards.insert(op, Forward { to, then, key, owner });
        self.finish_forwards(out);
    }

    /// Lets the forwarder act, and sends its calls as ours.
    pub(super) fn drive_forwarder(
        &mut self,
        _now: Millis,
        act: impl FnOnce(&mut Client, &mut Out),
        out: &mut Out,
    ) {
        self.drive_forwarder_with(act, out);
        self.finish_forwards(out);
    }

    fn drive_forwarder_with<T>(
        &mut self,
        act: impl FnOnce(&mut Client, &mut Out) -> T,
        out: &mut Out,
    ) -> T {
        let mut effects = Vec::new();
        let result = act(&mut self.forwarder, &mut effects);
        for effect in effects {
            match effect {
                Output::Call { call, target, message, timeout_ms, keep } => {
                    let call = self.call_id(Purpose::Forward(call));
                    out.push(Output::Call { call, target, message, timeout_ms, keep });
                }
                other => out.push(other),
            }
        }
        result
    }

    fn finish_forwards(&mut self, out: &mut Out) {
        while let Some((op, result)) = self.forwarder.finished() {
            let Some(forward) = self.forwards.remove(&op) else {
                continue;
            };
            // A write that may still happen keeps its vote, by which its repetition is known.
            if !matches!(result, Err(OpError::Unknown(_))) {
                self.votes.release(&forward.key, &forward.owner);
            }
            match result {
                Ok(Outcome::Written { .. }) => {
                    self.reply(forward.to, Reply::new(), forward.then, out);
                }
                Ok(_) => unreachable!("a write ends as written or as an error"),
                Err(error) => self.forward_failed(&forward, &error, out),
            }
        }
    }

    fn forward_failed(&mut self, forward: &Forward, error: &OpError, out: &mut Out) {
        let message = reply::error(error);
        out.push(Output::Reply { to: forward.to, message, then: forward.then });
    }

    fn stats(&self) -> Reply {
        let primary = |hold: &&super::holds::Hold| matches!(hold.role, Role::Primary(_));
        let primaries = self.holds.iter().filter(primary);
        let keys_primary: usize =
            primaries.map(|hold| self.store.keys_within(hold.entry.start, hold.entry.end)).sum();
        let id = Json::parse(self.id.as_bytes()).expect("an identity is drawn as a JSON number");
        let position = crate::core::assignment::position_of(&id);
        Reply::status("ok")
            .text("addr", &self.addr)
            .text("id", &self.id)
            .number("position", u64::from(position))
            .number("epoch", self.epoch())
            .number("revision", self.acked)
            .number("keys", self.store.keys() as u64)
            .number("keys_primary", keys_primary as u64)
            .number("keys_local", self.local.len() as u64)
            .number("keys_received", self.keys_received)
            .number("bytes", self.store.bytes() as u64)
            .number("pending", self.writes.len() as u64)
            .text("program", PROGRAM_VERSION)
            .raw("transfers", &self.transfers_json())
            .raw("dht", &format!("{{\"version\": {EXTENSION_VERSION}}}"))
    }
}

/// A JSON list of names, each once, by their bytes.
fn sorted<'a>(names: impl Iterator<Item = &'a [u8]>) -> String {
    let mut names: Vec<&[u8]> = names.collect();
    names.sort();
    names.dedup();
    let mut list = String::from("[");
    for name in names {
        if list.len() > 1 {
            list.push_str(", ");
        }
        write_json(name, &mut list);
    }
    list.push(']');
    list
}
