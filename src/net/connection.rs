//! A connection that somebody else opened: frames in, replies out in the order of the requests.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::alarm::Alarm;
use super::driver::Driver;
use super::error_reply;
use super::frames::{Frames, READ_BYTES, poll_discard};
use super::gather;
use super::limits::Limits;
use super::sending::Sending;
use super::turn::Turn;
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
            conversation.alarm.ring();
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
    alarm: Alarm,
}

#[derive(Debug)]
struct Pending {
    to: ReplyTo,
    answer: Option<Answer>,
}

/// A reply, and what it says of the connection.
pub(super) type Answer = (Vec<u8>, Then);

impl Conversation {
    /// Takes a request's place in the queue, with its reply where that is there already.
    fn enter(&self, to: ReplyTo, answer: Option<Answer>) {
        let mut pending = self.pending.borrow_mut();
        match answer {
            Some(answer) if pending.is_empty() => self.send(answer),
            answer => pending.push_back(Pending { to, answer }),
        }
    }

    /// Takes the reply to one request; it goes out once all before it have.
    pub(super) fn answer(&self, to: ReplyTo, answer: Answer) {
        let mut pending = self.pending.borrow_mut();
        if let Ok(at) = pending.binary_search_by_key(&to, |pending| pending.to) {
            pending[at].answer = Some(answer);
        }
        while let Some(Pending { answer: Some(_), .. }) = pending.front() {
            let Some(Pending { answer: Some(answer), .. }) = pending.pop_front() else { break };
            self.send(answer);
        }
        self.alarm.ring();
    }

    fn send(&self, (message, then): Answer) {
        if self.is_closing() {
            return;
        }
        let mut ready = self.ready.borrow_mut();
        match i32::try_from(message.len()) {
            Ok(_) => frame::append(&mut ready, &message),
            Err(_) => frame::append(&mut ready, &error_reply("the reply is too long")),
        }
        self.then.set(Some(then));
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
        sending: Sending::new(writer, Vec::new(), ROOM_BYTES),
        frames: Frames::default(),
        frame_count: 0,
        ended: false,
        now,
        read_at: now,
        wrote_at: now,
        turn: Turn::default(),
        timer: None,
    };
    poll_fn(|context| session.poll(context)).await;
    if conversation.is_closing() {
        session.drain().await;
    }
}

/// Gives the machine a frame.
fn give(
    driver: &Rc<Driver>,
    conversation: &Rc<Conversation>,
    origin: &Origin,
    now: Millis,
    message: &[u8],
) {
    let to = driver.reply_id();
    let input = Input::frame(to, origin, message);
    if message[0] == PEER_MARK {
        driver.step(now, input);
    } else {
        let answer = driver.ask(now, conversation, to, input);
        conversation.enter(to, answer);
    }
}

/// The side of a connection that its task sees.
struct Session<'a> {
    driver: &'a Rc<Driver>,
    conversation: &'a Rc<Conversation>,
    origin: Origin,
    reader: ReadHalf<'a>,
    sending: Sending<'a>,
    frames: Frames,
    /// How many frames have come. From the second on the other party is known to keep its
    /// connection open.
    frame_count: u64,
    /// Whether nothing more is read: the other party has ended its side, or sent a bad frame.
    ended: bool,
    /// When the last look at the clock was: one is for all that is done in one go.
    now: Instant,
    /// When the last byte came.
    read_at: Instant,
    /// When the last byte went, or the first that waits was ready.
    wrote_at: Instant,
    /// Where it waits for the others' turn before it reads on.
    turn: Turn,
    /// Waits for [`Session::limit`], once there was one.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Session<'_> {
    /// Does all that can be done now. Ready once the connection is over.
    ///
    /// By hand, and not with `select!`: that set up and gave up four waits for each of four steps of
    /// a request, and asked the clock some ten times. With 50 clients the server's time for a `get` fell
    /// by it, and by the table of the server's own names, from 7.4 µs to 6.5, of which the system has 5.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.conversation.alarm.off();
        self.now = Instant::now();
        let mut more = false;
        loop {
            self.take_frames();
            let was_full = self.is_full();
            if let Poll::Ready(Err(_)) = self.poll_write(context) {
                return Poll::Ready(());
            }
            if was_full && !self.is_full() {
                // There is room again for the replies to frames that have come.
                continue;
            }
            if self.is_over() {
                return Poll::Ready(());
            }
            if self.is_full() || self.ended || self.conversation.is_closing() {
                break;
            }
            if more || self.turn.is_given() {
                // The others have their turn first, and whoever sent all this gets the first answers: a
                // server that joined read all there was before it acknowledged any of it, and the one that
                // gave it its slots did nothing meanwhile.
                if self.turn.poll(context).is_pending() {
                    break;
                }
                more = false;
            }
            match self.frames.poll_fill(context, &mut self.reader) {
                Poll::Ready(Ok(0)) => self.end(),
                Poll::Ready(Ok(count)) => {
                    self.read_at = self.now;
                    more = count == READ_BYTES;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        if self.conversation.evicted.get() {
            // After what had come was read: to close over it would reset the connection.
            return Poll::Ready(());
        }
        self.poll_wait(context)
    }

    /// Waits for what comes next. Ready where it took too long.
    fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (writing, waiting) = (self.is_writing(), self.is_waiting());
        // Half a frame does not count as work: who sends bytes one by one must not keep others out.
        let idle = !writing && !waiting;
        self.conversation.idle_since.set(idle.then(|| self.driver.at(self.now)));
        self.conversation.alarm.set(context);
        let Some(limit) = self.limit(writing, waiting) else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(limit)));
        if timer.deadline() != limit {
            timer.as_mut().reset(limit);
        }
        ready!(timer.as_mut().poll(context));
        if !writing && !self.frames.is_empty() {
            self.note("half a message, and no more of it");
        }
        Poll::Ready(())
    }

    /// Writes the replies that are ready, as far as the other party takes them.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.load();
            if !self.is_writing() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.sending.poll_some(context))?;
            self.wrote_at = self.now;
        }
    }

    /// Whether there is nothing left to do for ever.
    fn is_over(&self) -> bool {
        let done = self.conversation.is_closing() || (self.ended && !self.is_waiting());
        done && !self.is_writing()
    }

    fn is_writing(&self) -> bool {
        self.sending.unsent() > 0
    }

    /// Whether a reply is due.
    fn is_waiting(&self) -> bool {
        !self.conversation.pending.borrow().is_empty()
    }

    /// Gives the machine what has come in, as far as there is room for the replies.
    fn take_frames(&mut self) {
        if self.frames.is_empty() {
            return;
        }
        let limits = &self.driver.limits;
        let (bytes_max, peer_bytes_max) = (limits.message_bytes_max, limits.peer_bytes_max());
        // All that came in one read came at one moment.
        let now = self.driver.at(self.now);
        let before = self.frame_count;
        while !self.is_full() && !self.conversation.is_closing() {
            let give = |message: &[u8]| {
                give(self.driver, self.conversation, &self.origin, now, message);
            };
            match self.frames.next(bytes_max, peer_bytes_max, give) {
                Ok(Some(())) => self.frame_count += 1,
                Ok(None) => break,
                Err(error) => {
                    self.refuse(&error.to_string());
                    break;
                }
            }
        }
        gather::done((self.frame_count - before) as u32, self.frames.is_of_server());
        self.driver.arm();
    }

    /// Answers a frame that has no message, after all that wait; nothing can be read after it.
    fn refuse(&mut self, why: &str) {
        self.note(why);
        self.ended = true;
        self.frames = Frames::default();
        let to = self.driver.reply_id();
        self.conversation.enter(to, Some((error_reply(why), Then::Close)));
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
        if self.sending.take(&mut self.conversation.ready.borrow_mut()) {
            self.wrote_at = self.now;
        }
    }

    /// Whether so much waits that no more requests are taken.
    fn is_full(&self) -> bool {
        let limits = &self.driver.limits;
        let unsent = self.sending.unsent() + self.conversation.ready.borrow().len();
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
        if self.sending.shutdown().await.is_err() {
            return;
        }
        let rest = async {
            while let Ok(1..) = poll_fn(|context| poll_discard(context, &mut self.reader)).await {}
        };
        let _ = timeout(Duration::from_millis(self.driver.limits.drain_ms), rest).await;
    }
}
