//! The limits of a node's sockets, each with its unit last.

use crate::core::machine::Millis;
use crate::core::wire::frame::FRAME_BYTES_MAX;

/// What a node allows its connections; the defaults suit ten servers on one small machine.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest message that is accepted. A longer one is answered with an error.
    pub message_bytes_max: usize,
    /// How many accepted connections are open. One more closes the one that has been idle longest;
    /// where none is idle, the new one is closed.
    pub connections_max: usize,
    /// How long a frame may stand half received without a further byte.
    pub half_frame_ms: Millis,
    /// How long a connection waits for a second frame after the reply to a plain request.
    pub linger_ms: Millis,
    /// How many requests of one connection wait for their replies; no more are read meanwhile.
    pub in_flight_max: usize,
    /// How many bytes of replies wait on one connection; no requests are read meanwhile.
    pub reply_queue_bytes_max: usize,
    /// How long the other party may take nothing of what is being sent to it.
    pub stalled_write_ms: Millis,
    /// How long a connection that is closed for a bad frame is still read, so that the error
    /// arrives before the close.
    pub drain_ms: Millis,
    /// How long opening a connection may take.
    pub connect_ms: Millis,
    /// How many bytes wait for one server on its kept-open connection; a single frame may be
    /// longer.
    pub send_queue_bytes_max: usize,
    /// How many idle connections for calls are kept open to one address.
    pub pooled_max: usize,
    /// How many notes wait unread before notes about single requests are dropped. Other notes are
    /// dropped at twice as many.
    pub notes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            message_bytes_max: FRAME_BYTES_MAX,
            connections_max: 10_000,
            half_frame_ms: 10_000,
            linger_ms: 500,
            in_flight_max: 1_024,
            reply_queue_bytes_max: 1024 * 1024,
            stalled_write_ms: 30_000,
            drain_ms: 1_000,
            connect_ms: 5_000,
            send_queue_bytes_max: 64 * 1024 * 1024,
            pooled_max: 4,
            notes_max: 10_000,
        }
    }
}

impl Limits {
    /// The longest reply that a call takes. A value may come back longer than it went in, as what
    /// is not ASCII is escaped; and it does not shrink with the limit that a user sets for requests.
    pub(super) fn reply_bytes_max(&self) -> usize {
        let longest = self.message_bytes_max.max(FRAME_BYTES_MAX);
        longest.saturating_mul(ESCAPED_BYTES_MAX).saturating_add(SLACK_BYTES)
    }

    /// The longest frame between replicas, which carries what came in a message and more.
    pub(super) fn peer_bytes_max(&self) -> usize {
        self.reply_bytes_max().saturating_add(SLACK_BYTES)
    }
}

/// What one byte of JSON text takes at most once it is escaped: `\u007f`.
const ESCAPED_BYTES_MAX: usize = 6;

/// What may stand around a value.
const SLACK_BYTES: usize = 1024 * 1024;
