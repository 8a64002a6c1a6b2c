//! What clients asked of machines and what they were told: the part of it that rules are about.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::facts::{self, digest};
use crate::core::assignment::{Report, Revision};
use crate::core::hash::{Slot, slot_of};
use crate::core::machine::{Input, Millis, Note, Output, ReplyTo};
use crate::core::reply::Reply;
use crate::core::server::Server;
use crate::core::wire::frame::PEER_MARK;
use crate::core::wire::json::{Json, Object};
use crate::core::wire::peer::{RequestId, Version};
use crate::core::wire::request::{Command, Request};
use crate::core::wire::text::Text;
use crate::sim::node::ProcessId;

/// A request that rules are about.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    Write {
        key: Text,
        id: RequestId,
        value: u64,
        voted: bool,
    },
    /// An original client at this address wants to write a name.
    Vote {
        key: Text,
        owner: String,
    },
    /// An original client writes.
    Setr {
        key: Text,
        value: u64,
    },
    /// The number that the server had given out last when the read came.
    Read {
        key: Text,
        counter: u64,
    },
    LockGet {
        lock: Json,
        requestor: Json,
    },
    LockRelease {
        lock: Json,
        requestor: Json,
    },
    /// A server tells the leader what it found.
    Report(Report),
}

/// What a machine told somebody in a step.
#[derive(Debug, Clone)]
pub(super) enum Told {
    /// A write is done. The version, where it is known: not where it was another transaction's.
    Acknowledged {
        slot: Slot,
        key: Text,
        id: RequestId,
        version: Option<Version>,
        /// Tells the value from others.
        value: u64,
        voted: bool,
    },
    /// A name is reserved for the client at an address.
    Voted { key: Text, owner: String },
    /// An original client's write is done.
    SetrDone { key: Text, value: u64 },
    /// A write did not happen.
    NotDone { to: ReplyTo, id: RequestId },
    /// A read was answered with a value, or that there is none.
    Answered { to: ReplyTo, slot: Slot },
    /// A lock is held from now on.
    Granted { lock: Json, requestor: Json },
    /// A lock is given back, or a place in its queue.
    Released { lock: Json, requestor: Json },
    /// A server has reported joiners that are synced, and other things: heard, not told.
    Reported(Report),
    /// Slots start again empty.
    Lost,
    /// A leader tells of itself at this epoch and revision; 0 where it does not say.
    Stands { epoch: u64, revision: Revision },
    /// A leader says that a lease has ended.
    Expired { addr: String },
}

/// The requests that were not answered.
#[derive(Debug, Default)]
pub(super) struct Dialogue {
    asked: BTreeMap<ReplyTo, (ProcessId, Asked)>,
    /// What was reported in this step.
    reported: Vec<Report>,
    /// Releases of locks, and by whom, that processes have died with: done or not.
    pub(super) released_perhaps: Vec<(Json, Json)>,
}

/// A frame that is about to be given to a machine, where rules are about it.
#[derive(Debug)]
pub(in crate::sim) struct Heard {
    /// The time by the machine's clock.
    pub(super) local: Millis,
    asked: Option<(ReplyTo, Asked)>,
}

/// The name of a request, as `dht_write` carries it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Name {
    client: u64,
    number: u64,
    voted: bool,
}

impl Heard {
    /// What an input says, as far as rules are about it.
    pub(in crate::sim) fn of(local: Millis, input: &Input<'_>) -> Heard {
        let Input::Frame { to, message, origin } = input else {
            return Heard { local, asked: None };
        };
        if message.first() == Some(&PEER_MARK) {
            return Heard { local, asked: None };
        }
        Heard { local, asked: asked(message, &origin.peer_ip).map(|asked| (*to, asked)) }
    }
}

fn asked(message: &[u8], from: &str) -> Option<Asked> {
    Some(match Request::parse(message).ok()?.command {
        Command::SetrRequest { key } => Asked::Vote { key, owner: from.to_string() },
        Command::Setr { key, value } => Asked::Setr { key, value: digest(value.as_str()) },
        Command::Write { key, value, extension } => {
            let name: Name = serde_json::from_str(extension).ok()?;
            let id = RequestId { client: name.client, number: name.number };
            Asked::Write { key, id, value: digest(value.as_str()), voted: name.voted }
        }
        Command::Read { key, .. } => Asked::Read { key, counter: 0 },
        Command::LockGet { lock, requestor } => Asked::LockGet { lock, requestor },
        Command::LockRelease { lock, requestor } => Asked::LockRelease { lock, requestor },
        Command::Report { extension } => Asked::Report(serde_json::from_str(extension).ok()?),
        _ => return None,
    })
}

impl Dialogue {
    /// Takes in a request.
    pub(super) fn hear(
        &mut self,
        process: ProcessId,
        heard: Heard,
        before: Option<&facts::Server>,
    ) {
        self.reported.clear();
        if let Some((to, mut asked)) = heard.asked {
            if let Asked::Report(report) = asked {
                return self.reported.push(report);
            }
            if let Asked::Read { counter, .. } = &mut asked {
                *counter = before.map_or(0, |before| before.counter);
            }
            self.asked.insert(to, (process, asked));
        }
    }

    /// What was said in a step.
    pub(super) fn told<'a>(
        &mut self,
        server: Option<&Server>,
        outputs: impl Iterator<Item = &'a Output>,
    ) -> Vec<Told> {
        let mut told = Vec::new();
        if server.is_none() {
            told.extend(self.reported.drain(..).map(Told::Reported));
        }
        for output in outputs {
            if server.is_none() {
                told.extend(stands(output));
            }
            match output {
                Output::Reply { to, message, .. } => {
                    let Some((_, asked)) = self.asked.remove(to) else { continue };
                    told.extend(reply(server, *to, asked, message));
                }
                Output::Note(Note::Failed { addr, why: "lease expired", .. }) => {
                    told.push(Told::Expired { addr: addr.clone() });
                }
                _ => {}
            }
        }
        told
    }

    /// The number that the server had given out last when a read came that waits.
    pub(super) fn came_at(&self, to: ReplyTo) -> Option<u64> {
        match self.asked.get(&to)? {
            (_, Asked::Read { counter, .. }) => Some(*counter),
            _ => None,
        }
    }

    /// A request waits for its answer, somewhere.
    #[cfg(test)]
    pub(super) fn put(&mut self, to: ReplyTo, asked: Asked) {
        self.asked.insert(to, (ProcessId { node: 0, run: 1 }, asked));
    }

    /// A process has died: it answers nothing any more.
    pub(super) fn forget(&mut self, dead: ProcessId) {
        for (process, asked) in self.asked.values() {
            if let (true, Asked::LockRelease { lock, requestor }) = (*process == dead, asked) {
                self.released_perhaps.push((lock.clone(), requestor.clone()));
            }
        }
        self.asked.retain(|_, (process, _)| *process != dead);
    }
}

/// The numbers in a message of a leader.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Numbers {
    epoch: u64,
    revision: Revision,
}

/// Which epoch and revision a message of a leader tells.
fn stands(output: &Output) -> Option<Told> {
    let (Output::Reply { message, .. } | Output::Call { message, .. }) = output else {
        return None;
    };
    let object = Object::parse(message).ok()?;
    let inner: Numbers = object.decode("dht").unwrap_or_default();
    let epoch = object.number("epoch").unwrap_or(0).max(inner.epoch);
    (epoch > 0 || inner.revision > 0).then_some(Told::Stands { epoch, revision: inner.revision })
}

fn reply(server: Option<&Server>, to: ReplyTo, asked: Asked, message: &[u8]) -> Option<Told> {
    let object = Object::parse(message).ok()?;
    let asked = match asked {
        Asked::Vote { key, owner } => {
            let yes = object.text("reply").is_some_and(|reply| reply.as_bytes() == b"ok");
            return yes.then_some(Told::Voted { key, owner });
        }
        Asked::Setr { key, value } => {
            let done = message == Reply::new().finish();
            return done.then_some(Told::SetrDone { key, value });
        }
        other => other,
    };
    let status = object.text("status")?;
    match (asked, status.as_str()?) {
        (Asked::Write { key, id, value, voted }, "ok") => {
            let slot = slot_of(key.as_bytes());
            let version = server.and_then(|server| server.audit().executed(slot, id));
            Some(Told::Acknowledged { slot, key, id, version, value, voted })
        }
        (Asked::Write { id, .. }, "no") => Some(Told::NotDone { to, id }),
        (Asked::Read { key, .. }, "ok" | "not_found") => {
            Some(Told::Answered { to, slot: slot_of(key.as_bytes()) })
        }
        (Asked::LockGet { lock, requestor }, "granted") => Some(Told::Granted { lock, requestor }),
        (Asked::LockRelease { lock, requestor }, "ok") => Some(Told::Released { lock, requestor }),
        _ => None,
    }
}
