//! Members that are none any more: whose lease has ended, who are gone, who have left.

use super::probe::Absent;
use super::{GONE, LEFT, Leader, Out, RESTARTED};
use crate::core::machine::{Millis, Note, Output};

impl Leader {
    /// Removes the members whose lease has ended.
    pub(super) fn sweep(&mut self, now: Millis, out: &mut Out) {
        let overdue = self.members.overdue(now);
        self.remove(now, &overdue, "lease expired", out);
    }

    /// Removes members: one sweep, one epoch.
    pub(super) fn remove(
        &mut self,
        now: Millis,
        addrs: &[String],
        why: &'static str,
        out: &mut Out,
    ) {
        if self.take_out(now, addrs, why, out) {
            self.replan(now, out);
        }
    }

    /// The same, where a replan is to follow; whether there was anybody to be removed.
    pub(super) fn take_out(
        &mut self,
        now: Millis,
        addrs: &[String],
        why: &'static str,
        out: &mut Out,
    ) -> bool {
        let (mut any, mut stayer_vanished) = (false, false);
        for addr in addrs {
            let Some(member) = self.members.expire(addr) else {
                continue;
            };
            if !any {
                self.epoch += 1;
                any = true;
            }
            if let Some(extension) = &member.extension {
                self.suspects.remove(&extension.id);
            }
            let gone = why == GONE || why == LEFT;
            if let Some(extension) = member.extension {
                let vanished = why != LEFT && why != RESTARTED;
                stayer_vanished |= vanished && extension.leaving_since.is_none();
                let keeps = Some(extension.keeps);
                let mut absent = Absent::new(addr.clone(), gone, keeps, now);
                absent.left = why == LEFT;
                self.absent.insert(extension.id, absent);
            }
            let note = Note::Failed { addr: addr.clone(), why, epoch: self.epoch };
            out.push(Output::Note(note));
        }
        if stayer_vanished {
            self.vanished_at = Some(now);
        }
        any
    }
}
