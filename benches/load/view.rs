//! How long a view leader computes: the machine alone, with servers that do at once what they are told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dht::core::assignment::{
    AssignReply, HeartbeatExtension, NodeId, Report, Revision, Snapshot, Span,
};
use dht::core::leader::{Leader, LeaderConfig};
use dht::core::machine::{Input, Machine, Millis, Origin, Output, ReplyTo};
use dht::core::reply::Reply;
use dht::core::wire::json::Object;

use super::arguments::Arguments;

/// The view leader's default.
const HEARTBEAT_MS: Millis = 10_000;

/// How many joins and ends of leases are looked at; what counts is the one in the middle.
const CHANGES: usize = 3;

/// Fills a view and measures what one join, one end of a lease and one heartbeat take.
pub(crate) fn measure(arguments: &Arguments) -> Result<String, String> {
    let servers: usize = arguments.or("servers", 1000)?;
    let mut town = Town::new();
    for server in 0..servers {
        town.join(server);
    }
    town.settle();
    let joins = (servers..servers + CHANGES).map(|server| town.heartbeat(server)).collect();
    let quiet = town.all_heartbeats(servers);
    let ends = (1..=CHANGES).map(|gone| town.without(gone, servers)).collect();
    let us = |span: Duration| span.as_nanos() as f64 / 1000.0;
    Ok(format!(
        r#"{{"servers": {servers}, "join_us": {:.1}, "end_us": {:.1}, "heartbeat_us": {:.3}}}"#,
        us(middle(joins)),
        us(middle(ends)),
        us(quiet) / servers as f64,
    ))
}

fn middle(mut spans: Vec<Duration>) -> Duration {
    spans.sort();
    spans[spans.len() / 2]
}

/// A view leader, and servers that adopt and sync as soon as they are told.
struct Town {
    leader: Leader,
    now: Millis,
    out: Vec<Output>,
    replies: u64,
    acked: BTreeMap<NodeId, Revision>,
    reports: Vec<Report>,
    longest: Duration,
    todo: Vec<Output>,
}

impl Town {
    fn new() -> Self {
        let mut leader = Leader::new(LeaderConfig { listen_ms: 0, ..LeaderConfig::default() });
        let mut out = Vec::new();
        leader.handle(0, Input::Start, &mut out);
        Town {
            leader,
            now: 0,
            out,
            replies: 0,
            acked: BTreeMap::new(),
            reports: Vec::new(),
            longest: Duration::ZERO,
            todo: Vec::new(),
        }
    }

    /// A step of the machine; how long it took.
    fn step(&mut self, input: Input<'_>) -> Duration {
        let began = Instant::now();
        self.leader.handle(self.now, input, &mut self.out);
        let took = began.elapsed();
        self.longest = self.longest.max(took);
        self.todo.append(&mut self.out);
        took
    }

    /// Time passes, and the leader is woken whenever it wants to be.
    fn pass(&mut self, span: Millis) {
        let end = self.now + span;
        while self.now < end
            && let Some(at) = self.leader.deadline().filter(|at| *at <= end)
        {
            // A deadline that stays past moves on by a moment, as a driver's does.
            self.now = at.max(self.now + 1);
            self.step(Input::Tick);
            self.settle();
        }
        self.now = self.now.max(end);
    }

    fn frame(&mut self, message: Vec<u8>) -> Duration {
        self.replies += 1;
        let origin = Origin { peer_ip: "127.0.0.1".into(), local_ip: "127.0.0.1".into() };
        self.step(Input::frame(ReplyTo(self.replies), &origin, &message))
    }

    /// One server renews its lease, and the ring adopts what comes of it; how long the leader took.
    fn heartbeat(&mut self, server: usize) -> Duration {
        let took = self.join(server);
        self.settle();
        took
    }

    /// The same, and nobody hears yet what comes of it.
    fn join(&mut self, server: usize) -> Duration {
        let revision = self.acked.get(&*identity(server)).copied().unwrap_or(0);
        let holds = (revision == 0).then(Vec::new);
        let said = HeartbeatExtension {
            version: 1,
            revision,
            seen: revision,
            holds,
            ..Default::default()
        };
        let message = Reply::new().text("cmd", "heartbeat").number("port", 10_000 + server as u64);
        let message = message.raw("requestor", &identity(server)).value("dht", &said).finish();
        self.frame(message)
    }

    fn all_heartbeats(&mut self, servers: usize) -> Duration {
        self.pass(HEARTBEAT_MS / 2);
        (0..servers).map(|server| self.heartbeat(server)).sum()
    }

    /// The first `gone` servers say nothing until the last lease of theirs is over, while all others do;
    /// the longest step of the leader meanwhile, in which the lease ended.
    fn without(&mut self, gone: usize, servers: usize) -> Duration {
        self.longest = Duration::ZERO;
        for _ in 0..4 {
            self.pass(HEARTBEAT_MS);
            for server in gone..servers + CHANGES {
                self.heartbeat(server);
            }
        }
        self.longest
    }

    /// Answers everything that the leader says, and everything that it says then.
    fn settle(&mut self) {
        loop {
            if let Some(output) = self.todo.pop() {
                match output {
                    Output::Reply { message, .. } => drop(self.learn(&message)),
                    Output::Call { call, message, .. } => {
                        let answer = self.learn(&message).unwrap_or_default();
                        let result = Ok(Reply::status("ok").value("dht", &answer).finish());
                        self.step(Input::Returned { call, result });
                    }
                    _ => {}
                }
            } else if let Some(report) = self.reports.pop() {
                let message = Reply::new().text("cmd", "dht_report").value("dht", &report);
                self.frame(message.finish());
            } else {
                return;
            }
        }
    }

    /// A server adopts what it is told, and has synced its joiners by the next moment.
    fn learn(&mut self, message: &[u8]) -> Option<AssignReply> {
        let snapshot: Snapshot = Object::parse(message).ok()?.decode("dht")?;
        let id = snapshot.you?;
        let led = snapshot.entries.iter().filter(|entry| entry.active[0].id() == &id);
        let synced: Vec<(Span, Vec<NodeId>)> = led
            .filter(|entry| !entry.joining.is_empty())
            .map(|entry| {
                let joiners = entry.joining.iter().map(|joiner| joiner.id().clone());
                (Span(entry.start, entry.end, entry.revision), joiners.collect())
            })
            .collect();
        if !synced.is_empty() {
            self.reports.push(Report {
                version: 1,
                id: Some(id.clone()),
                synced,
                ..Report::default()
            });
        }
        self.acked.insert(id, snapshot.revision);
        Some(AssignReply { revision: snapshot.revision, dropped: snapshot.drop })
    }
}

/// What a server calls itself: a number, as in the original.
fn identity(server: usize) -> String {
    format!("0.{server:07}1")
}
