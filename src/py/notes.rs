//! Notes as Python reads them: a kind, and a JSON object as ASCII text.

use crate::core::machine::Note;
use crate::core::wire::json::Json;
use crate::core::wire::text::Text;

/// The note's kind and its fields.
pub(super) fn describe(note: &Note) -> (&'static str, String) {
    let fields = Fields::default();
    let (kind, fields) = match note {
        Note::Setting { key, value } => {
            ("setting", fields.raw("key", &key.to_json()).raw("value", value.as_str()))
        }
        Note::Querying { key } => ("querying", fields.raw("key", &key.to_json())),
        Note::NotFound { key } => ("not_found", fields.raw("key", &key.to_json())),
        Note::AllKeys => ("all_keys", fields),
        Note::Printing { words } => {
            ("printing", fields.list("words", words.iter().map(|word| word.as_str().to_owned())))
        }
        Note::HeartbeatFailed { why } => ("heartbeat_failed", fields.text("why", why)),
        Note::LeaseRefused { status, addr } => {
            ("lease_refused", fields.text("status", status).text("addr", addr))
        }
        Note::Unreachable { addr } => ("unreachable", fields.text("addr", addr)),
        Note::Renamed { requestor } => ("renamed", fields.raw("requestor", requestor.as_str())),
        Note::Joined { addr, position, epoch } => (
            "joined",
            fields.text("addr", addr).number("position", *position).number("epoch", *epoch),
        ),
        Note::Failed { addr, why, epoch } => {
            ("failed", fields.text("addr", addr).text("why", why).number("epoch", *epoch))
        }
        Note::Rebalancing => ("rebalancing", fields),
        Note::RebalancingProgress { percent } => {
            ("rebalancing_progress", fields.number("percent", *percent))
        }
        Note::RebalancingComplete => ("rebalancing_complete", fields),
        Note::Waiting { slots, holders } => {
            ("waiting", fields.number("slots", *slots).list("holders", texts(holders)))
        }
        Note::Lost { slots, holders } => {
            ("lost", fields.number("slots", *slots).list("holders", texts(holders)))
        }
        Note::Recovering => ("recovering", fields),
        Note::Leaving => ("leaving", fields),
        Note::LeaderAway => ("leader_away", fields),
        Note::NotHandedOver { keys } => ("not_handed_over", fields.number("keys", *keys)),
        Note::Left => ("left", fields),
        Note::BadFrame { peer_ip, why } => {
            ("bad_frame", fields.text("peer_ip", peer_ip).text("why", why))
        }
    };
    (kind, fields.finish())
}

fn texts(all: &[String]) -> impl Iterator<Item = String> {
    all.iter().map(|text| quote(text))
}

fn quote(text: &str) -> String {
    Json::string(&Text::from(text)).as_str().to_owned()
}

/// A JSON object that is being written.
#[derive(Debug, Default)]
struct Fields(String);

impl Fields {
    /// Adds a value that is JSON already.
    fn raw(mut self, name: &str, value: &str) -> Self {
        let comma = if self.0.is_empty() { "" } else { ", " };
        self.0.push_str(&format!("{comma}\"{name}\": {value}"));
        self
    }

    fn text(self, name: &str, value: &str) -> Self {
        self.raw(name, &quote(value))
    }

    fn number(self, name: &str, value: impl Into<u64>) -> Self {
        self.raw(name, &value.into().to_string())
    }

    fn list(self, name: &str, values: impl Iterator<Item = String>) -> Self {
        let values: Vec<String> = values.collect();
        self.raw(name, &format!("[{}]", values.join(", ")))
    }

    fn finish(self) -> String {
        format!("{{{}}}", self.0)
    }
}
