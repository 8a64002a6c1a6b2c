//! Letting other threads of the machine go first before one sleeps, under load.
//!
//! A server that sleeps as soon as it has nothing to do is woken by the next message, and does that alone: with
//! three servers on two cores each wake brought two. Where the thread goes to the end of the queue for a
//! processor instead, others get on with what they do, and more waits when it comes back. With nobody in the
//! queue that is a system call which does nothing.
//!
//! With 50 clients three servers did 12 % more `setr` and 8 to 15 % more `getr`, with 8 clients up to 10 % more
//! `setr`, and as many with one (medians, measured in turns, on two rings). Where two programs that never sleep
//! had the two cores as well, they did as many as without this; where they let others go first whatever came of
//! it, a fifth to a third.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// From how many messages between two sleeps on, on the average, there is load. One client's `setr` brings little
/// more than one at a time. To let others go first there too made it 9 % slower.
const LOAD_MESSAGES_MIN: f32 = 1.5;

/// What share of the average the last sleep is.
const LAST_SHARE: f32 = 0.0625;

/// How many sleeps after the last message of another server this one counts as alone: then nobody works for it
/// whom it could let go first.
const ALONE_AFTER_SLEEPS: u32 = 64;

/// Who has waited so long for a processor has let somebody go first who does not soon end. Of 10,000 waits
/// among servers and their clients, three are as long; beside a program for each core that never sleeps, a third.
const WAIT_MAX: Duration = Duration::from_millis(2);

/// How long nobody goes first after such a wait. Each further one doubles it.
const PAUSE_MIN: Duration = Duration::from_millis(8);

/// How often it is doubled at most: to a second.
const DOUBLINGS_MAX: u32 = 7;

/// After how many short waits in a row it is halved again.
const SHORT_WAITS: u32 = 64;

thread_local! {
    static GATHER: Gather = const { Gather::new() };
}

/// This thread has done so many messages, of another server or of somebody else.
pub(super) fn done(messages: u32, of_server: bool) {
    GATHER.with(|gather| gather.done(messages, of_server));
}

/// This thread is about to sleep.
pub(super) fn before_sleep() {
    GATHER.with(|gather| {
        if !gather.sees_load() {
            return;
        }
        let before = Instant::now();
        if gather.is_paused(before) {
            return;
        }
        thread::yield_now();
        gather.has_waited(before, Instant::now());
    });
}

/// What a thread knows of its load.
struct Gather {
    /// Messages since the last sleep.
    messages: Cell<u32>,
    /// Messages between two sleeps.
    average: Cell<f32>,
    /// Sleeps since the last message of another server.
    sleeps_alone: Cell<u32>,
    paused_until: Cell<Option<Instant>>,
    /// How often the next pause is doubled.
    doublings: Cell<u32>,
    /// Short waits since a long one, or since a pause was halved.
    short_waits: Cell<u32>,
}

impl Gather {
    const fn new() -> Gather {
        Gather {
            messages: Cell::new(0),
            average: Cell::new(0.0),
            sleeps_alone: Cell::new(ALONE_AFTER_SLEEPS),
            paused_until: Cell::new(None),
            doublings: Cell::new(0),
            short_waits: Cell::new(0),
        }
    }

    fn done(&self, messages: u32, of_server: bool) {
        self.messages.set(self.messages.get().saturating_add(messages));
        if of_server && messages > 0 {
            self.sleeps_alone.set(0);
        }
    }

    /// Whether there is load, and others that work for it; asked before each sleep.
    fn sees_load(&self) -> bool {
        let before = self.average.get();
        let average = before + (self.messages.take() as f32 - before) * LAST_SHARE;
        self.average.set(average);
        let alone = self.sleeps_alone.get();
        self.sleeps_alone.set(alone.saturating_add(1));
        average >= LOAD_MESSAGES_MIN && alone < ALONE_AFTER_SLEEPS
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.get().is_some_and(|until| now < until)
    }

    fn has_waited(&self, from: Instant, to: Instant) {
        let doublings = self.doublings.get();
        if to.saturating_duration_since(from) > WAIT_MAX {
            self.paused_until.set(Some(to + PAUSE_MIN * (1 << doublings)));
            self.doublings.set(DOUBLINGS_MAX.min(doublings + 1));
            self.short_waits.set(0);
            return;
        }
        self.short_waits.set(self.short_waits.get() + 1);
        if self.short_waits.get() == SHORT_WAITS {
            self.doublings.set(doublings.saturating_sub(1));
            self.short_waits.set(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of the last ten of many sleeps see load, with so many messages before each.
    fn seen(gather: &Gather, of_clients: u32, of_servers: u32) -> usize {
        let mut seen = Vec::new();
        for _ in 0..200 {
            gather.done(of_clients, false);
            gather.done(of_servers, true);
            seen.push(gather.sees_load());
        }
        seen[190..].iter().filter(|load| **load).count()
    }

    #[test]
    fn load_is_several_messages_a_sleep_and_others_that_work_for_them() {
        let gather = Gather::new();
        assert_eq!(seen(&gather, 50, 0), 0, "alone");
        assert_eq!(seen(&gather, 0, 1), 0, "one message a sleep");
        assert_eq!(seen(&gather, 2, 2), 10);
        assert_eq!(seen(&gather, 0, 1), 0, "one message a sleep, after load");
        assert_eq!(seen(&gather, 8, 1), 10);
        assert_eq!(seen(&gather, 8, 0), 0, "alone again");
    }

    /// Waits, and how long nobody goes first after that.
    fn pause(gather: &Gather, start: Instant, wait: Duration) -> Duration {
        let back = start + wait;
        gather.has_waited(start, back);
        let step = PAUSE_MIN / 8;
        let paused = (0..).take_while(|steps| gather.is_paused(back + step * *steps)).count();
        step * paused as u32
    }

    #[test]
    fn who_has_waited_long_lets_nobody_go_first_for_a_while() {
        let (gather, now, long) = (Gather::new(), Instant::now(), 2 * WAIT_MAX);
        assert_eq!(pause(&gather, now, WAIT_MAX), Duration::ZERO);
        assert_eq!(pause(&gather, now, long), PAUSE_MIN);
        for doublings in 1..DOUBLINGS_MAX {
            assert_eq!(pause(&gather, now, long), PAUSE_MIN * (1 << doublings));
        }
        let longest = PAUSE_MIN * (1 << DOUBLINGS_MAX);
        assert_eq!([pause(&gather, now, long), pause(&gather, now, long)], [longest; 2]);
        let later = now + 2 * longest;
        for _ in 0..2 * SHORT_WAITS {
            assert_eq!(pause(&gather, later, WAIT_MAX), Duration::ZERO);
        }
        assert_eq!(pause(&gather, later, long), longest / 4);
    }
}
