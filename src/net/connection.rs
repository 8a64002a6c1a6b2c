//! A connection that somebody else opened: frames in, replies out in the order of the requests.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::mem;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::driver::Driver;
use super::error_reply;
use super::frames::{Frames, poll_discard};
use super::limits::Limits;
use crate::core::machine::{Input, Millis, Note, Origin, ReplyTo, Then};
use crate::core::wire::frame::{self, PEER_MARK};

/// How much room an empty buffer of replies keeps.
const ROOM_BYTES: usize = 64 * 1024;

/// The accepted connections that are open.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: RefCell<HashMap<u64, Rc<Conversation>>>,
    next: Cell<u64>,
}

impl Connections {
    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Closes the connection that has been idle longest; whether there was one.
    pub(super) fn close_idle(&self) -> bool {
        let mut open = self.open.borrow_mut();
        let oldest = open
            .iter()
            .filter_map(|(id, conversation)| Some((conversation.idle_since.get()?, *id)))
            .min();
        let Some((_, id)) = oldest else { return false };
        if let Some(conversation) = open.remove(&id) {
            conversation.evicted.set(true);
            conversation.wake.notify_one();
        }
        true
    }
}

/// The side of a connection that the driver sees: which replies are due, and where they go.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// The requests without a sent reply, in the order in which they came; ids ascend.
    pending: RefCell<VecDeque<Pending>>,
    /// Replies in their order, framed, not yet being written.
    ready: RefCell<Vec<u8>>,
    /// What the last reply in `ready` said of the connection.
    then: Cell<Option<Then>>,
    /// Since when no reply has been due and no byte has come; `None` while a reply is due.
    idle_since: Cell<Option<Millis>>,
    /// Whether it shall close to make room.
    evicted: Cell<bool>,
    wake: Notify,
}

#[derive(Debug)]
struct Pending {
    to: ReplyTo,
    answer: Option<(Vec<u8>, Then)>,
}

impl Conversation {
    /// Takes the reply to one request; it goes out once all before it have.
    pub(super) fn answer(&self, to: ReplyTo, message: Vec<u8>, then: Then) {
        let mut pending = self.pending.borrow_mut();
        if let Ok(at) = pending.binary_search_by_key(&to, |pending| pending.to) {
            pending[at].answer = Some((message, then));
        }
        let mut ready = self.ready.borrow_mut();
        while let Some(Pending { answer: Some(_), .. }) = pending.front() {
            let Some(Pending { answer: Some((message, then)), .. }) = pending.pop_front() else {
                break;
            };
            if self.is_closing() {
                continue;
            }
            match i32::try_from(message.len()) {
                Ok(_) => frame::append(&mut ready, &message),
                Err(_) => frame::append(&mut ready, &error_reply("the reply is too long")),
            }
            self.then.set(Some(then));
        }
        self.wake.notify_one();
    }

    /// Whether the last reply that goes out on this connection is in `ready` or gone.
    fn is_closing(&self) -> bool {
        self.then.get() == Some(Then::Close)
    }
}

/// Serves a connection until it closes.
pub(super) fn spawn(driver: &Rc<Driver>, stream: TcpStream, origin: Origin) {
    let conversation = Rc::new(Conversation::default());
    conversation.idle_since.set(Some(driver.now()));
    let id = driver.connections.next.get();
    driver.connections.next.set(id + 1);
    driver.connections.open.borrow_mut().insert(id, conversation.clone());
    let driver = driver.clone();
    tokio::task::spawn_local(async move {
        serve(&driver, &conversation, stream, origin).await;
        driver.connections.open.borrow_mut().remove(&id);
        for pending in conversation.pending.take() {
            driver.forget_reply(pending.to);
        }
    });
}

async fn serve(
    driver: &Rc<Driver>,
    conversation: &Rc<Conversation>,
    mut stream: TcpStream,
    origin: Origin,
) {
    let (reader, writer) = stream.split();
    let now = Instant::now();
    let mut session = Session {
        driver,
        conversation,
        origin,
        reader,
        writer,
        frames: Frames::default(),
        writing: Vec::new(),
        written: 0,
        frame_count: 0,
        ended: false,
        read_at: now,
        wrote_at: now,
    };
    while session.step().await {}
    if conversation.is_closing() {
        session.drain().await;
    }
}

/// The side of a connection that its task sees.
struct Session<'a> {
    driver: &'a Rc<Driver>,
    conversation: &'a Rc<Conversation>,
    origin: Origin,
    reader: ReadHalf<'a>,
    writer: WriteHalf<'a>,
    frames: Frames,
    /// What is being written; `writing[..written]` is sent.
    writing: Vec<u8>,
    written: usize,
    /// How many frames have come. From the second on the other party is known to keep its
    /// connection open.
    frame_count: u64,
    /// Whether nothing more is read: the other party has ended its side, or sent a bad frame.
    ended: bool,
    /// When the last byte came.
    read_at: Instant,
    /// When the last byte went, or the first that waits was ready.
    wrote_at: Instant,
}

impl Session<'_> {
    /// Does what can be done, then waits until something changes. Whether the connection goes on.
    async fn step(&mut self) -> bool {
        self.take_frames();
        self.load();
        let writing = self.written < self.writing.len();
        let waiting = !self.conversation.pending.borrow().is_empty();
        if !writing && (self.conversation.is_closing() || (self.ended && !waiting)) {
            return false;
        }
        // Half a frame does not count as work: who sends bytes one by one must not keep others out.
        let idle = !writing && !waiting;
        self.conversation.idle_since.set(idle.then(|| self.driver.now()));
        let reading = !self.ended && !self.is_full();
        let limit = self.limit(writing, waiting);
        let far = || Instant::now() + Duration::from_secs(3600);
        tokio::select! {
            biased;
            sent = self.writer.write(&self.writing[self.written..]), if writing => match sent {
                Ok(0) | Err(_) => return false,
                Ok(count) => {
                    self.written += count;
                    self.wrote_at = Instant::now();
                }
            },
            read = poll_fn(|context| self.frames.poll_fill(context, &mut self.reader)), if reading => {
                match read {
                    Ok(0) => self.end(),
                    Ok(_) => self.read_at = Instant::now(),
                    Err(_) => return false,
                }
            },
            () = self.conversation.wake.notified() => return !self.conversation.evicted.get(),
            () = sleep_until(limit.unwrap_or_else(far)), if limit.is_some() => {
                if !writing && !self.frames.is_empty() {
                    self.note("half a message, and no more of it");
                }
                return false;
            }
        }
        true
    }

    /// Gives the machine what has come in, as far as there is room for the replies.
    fn take_frames(&mut self) {
        let limits = &self.driver.limits;
        let (bytes_max, peer_bytes_max) = (limits.message_bytes_max, limits.peer_bytes_max());
        // All that came in one read came at one moment: the clock is asked once for it.
        let now = self.driver.now();
        while !self.is_full() && !self.conversation.is_closing() {
            match self.frames.next(bytes_max, peer_bytes_max) {
                Ok(Some(message)) => self.give(now, message),
                Ok(None) => break,
                Err(error) => {
                    self.refuse(&error.to_string());
                    break;
                }
            }
        }
        self.driver.arm();
    }

    fn give(&mut self, now: Millis, message: Vec<u8>) {
        self.frame_count += 1;
        let to = self.driver.reply_id();
        let answered = message[0] != PEER_MARK;
        let input = Input::Frame { to, origin: self.origin.clone(), message };
        if answered {
            self.conversation.pending.borrow_mut().push_back(Pending { to, answer: None });
            self.driver.ask(now, self.conversation, to, input);
        } else {
            self.driver.step(now, input);
        }
    }

    /// Answers a frame that has no message, after all that wait; nothing can be read after it.
    fn refuse(&mut self, why: &str) {
        self.note(why);
        self.ended = true;
        self.frames = Frames::default();
        let to = self.driver.reply_id();
        self.conversation.pending.borrow_mut().push_back(Pending { to, answer: None });
        self.conversation.answer(to, error_reply(why), Then::Close);
    }

    /// The other party has ended its side; it may still wait for replies.
    fn end(&mut self) {
        self.ended = true;
        if !self.frames.is_empty() && !self.is_full() {
            self.note("half a message, and the connection closed");
        }
    }

    fn note(&self, why: &str) {
        let peer_ip = self.origin.peer_ip.to_string();
        self.driver.note(Note::BadFrame { peer_ip, why: why.to_owned() });
    }

    /// Takes the replies that are ready, once the last have been written.
    fn load(&mut self) {
        if self.written < self.writing.len() {
            return;
        }
        self.writing.clear();
        self.writing.shrink_to(ROOM_BYTES);
        self.written = 0;
        mem::swap(&mut self.writing, &mut self.conversation.ready.borrow_mut());
        if !self.writing.is_empty() {
            self.wrote_at = Instant::now();
        }
    }

    /// Whether so much waits that no more requests are taken.
    fn is_full(&self) -> bool {
        let limits = &self.driver.limits;
        let unsent = self.writing.len() - self.written + self.conversation.ready.borrow().len();
        unsent >= limits.reply_queue_bytes_max
            || self.conversation.pending.borrow().len() >= limits.in_flight_max
    }

    /// When the connection closes if nothing happens.
    fn limit(&self, writing: bool, waiting: bool) -> Option<Instant> {
        let Limits { half_frame_ms, linger_ms, stalled_write_ms, .. } = self.driver.limits;
        let after = |start: Instant, ms| Some(start + Duration::from_millis(ms));
        let plain = self.conversation.then.get() == Some(Then::Linger) && self.frame_count == 1;
        if writing {
            after(self.wrote_at, stalled_write_ms)
        } else if waiting {
            None
        } else if !self.frames.is_empty() {
            after(self.read_at, half_frame_ms)
        } else if plain {
            after(self.wrote_at, linger_ms)
        } else {
            None
        }
    }

    /// Ends our side, and reads on for a moment: closing with bytes unread would make the system
    /// reset the connection, and take from the other party the reply that it has not read yet.
    async fn drain(&mut self) {
        if self.writer.shutdown().await.is_err() {
            return;
        }
        let rest = async {
            while let Ok(1..) = poll_fn(|context| poll_discard(context, &mut self.reader)).await {}
        };
        let _ = timeout(Duration::from_millis(self.driver.limits.drain_ms), rest).await;
    }
}
