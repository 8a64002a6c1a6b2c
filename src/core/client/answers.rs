//! What a primary's answer means for an operation: done, not done, or perhaps.

use super::Client;
use super::types::{Op, OpError, OpId, Outcome};
use crate::core::machine::{CallError, Millis};
use crate::core::planted::{Planted, planted};
use crate::core::wire::frame::is_too_long;
use crate::core::wire::json::Object;
use crate::core::wire::text::Text;

impl Client {
    /// The primary has answered, or has not.
    pub(super) fn primary_answered(
        &mut self,
        now: Millis,
        id: OpId,
        addr: String,
        result: Result<Vec<u8>, CallError>,
    ) {
        let reply = match &result {
            Ok(reply) => Object::parse(reply).map_err(|error| error.to_string()),
            Err(CallError::Lost(why)) => {
                let why = why.clone();
                self.may_have_happened(id);
                return self.pause(now, id, why);
            }
            Err(error) => return self.pause(now, id, error.to_string()),
        };
        let Ok(reply) = reply else {
            self.may_have_happened(id);
            return self.pause(now, id, "the reply is not JSON".to_string());
        };
        let status = reply.text("status");
        let reason = reply.text("reason").map(|reason| reason.to_string()).unwrap_or_default();
        let is_write = matches!(self.ops.get(&id).map(|r| &r.op), Some(Op::Write { .. }));
        match status.as_ref().and_then(Text::as_str) {
            Some("ok") if is_write => {
                if let Some((revision, sequence)) = reply.decode("since") {
                    self.versions.learn(revision, addr, sequence);
                }
                let servers = reply.decode("servers").unwrap_or_default();
                self.finish(id, Ok(Outcome::Written { servers }));
            }
            Some("ok") => {
                let value = reply.json("value");
                self.finish(
                    id,
                    value.map(Outcome::Value).ok_or_else(|| {
                        OpError::NotDone("the primary answered without a value".to_string())
                    }),
                );
            }
            Some("not_found") => self.finish(id, Ok(Outcome::NotFound)),
            Some("no") if reason == "busy" && !self.may_have(id) => {
                self.finish(id, Err(OpError::Busy));
            }
            Some("no") => {
                if let Some((since, running)) = reply.decode("since").zip(self.ops.get_mut(&id)) {
                    running.since = since;
                }
                self.pause(now, id, reason);
            }
            Some("forgotten") => {
                let why = "the request is older than what its servers remember".to_string();
                self.finish(id, Err(OpError::Unknown(why)));
            }
            Some("unknown") => {
                if let Some((since, running)) = reply.decode("since").zip(self.ops.get_mut(&id)) {
                    running.since = running.since.max(since);
                }
                self.may_have_happened(id);
                self.pause(now, id, reason);
            }
            _ => {
                let why = reply.text("error").map(|why| why.to_string());
                let why = why.unwrap_or_else(|| "the reply makes no sense".to_string());
                if is_too_long(&why) {
                    self.finish(id, Err(OpError::TooLarge(why)));
                } else {
                    self.pause(now, id, why);
                }
            }
        }
    }

    fn may_have(&self, id: OpId) -> bool {
        self.ops.get(&id).is_some_and(|running| running.maybe)
    }

    fn may_have_happened(&mut self, id: OpId) {
        let running = self.ops.get_mut(&id).filter(|_| !planted(Planted::LostSaidFailed));
        if let Some(running) = running.filter(|r| matches!(r.op, Op::Write { .. })) {
            running.maybe = true;
        }
    }
}
