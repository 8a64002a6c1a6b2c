//! What clients asked for and what they were told: the evidence that [`super::linearize`] judges.
//!
//! A history is a list of events in the order in which they happened. That order counts; the times
//! are there for readers, and never go back. A process does one operation at a time: a client with
//! several under way is several processes, and one that dies is never heard of again.
//!
//! As text a history has one event a line, each a JSON object, in the words that Jepsen uses:
//!
//! ```text
//! {"at":3,"process":0,"type":"invoke","f":"put","key":"k","value":"v"}
//! {"at":5,"process":1,"type":"invoke","f":"get","key":"k","value":null}
//! {"at":8,"process":0,"type":"ok","f":"put","key":"k","value":"v"}
//! {"at":9,"process":1,"type":"ok","f":"get","key":"k","value":"v"}
//! ```
//!
//! | field | what it is |
//! | --- | --- |
//! | `at` | the time, an integer in whatever unit the recorder uses |
//! | `process` | who asks, an integer |
//! | `type` | `invoke`: the operation begins; how it ends: `ok`, it was done; `fail`, it certainly was not and never will be; `info`, nobody knows |
//! | `f`, `key` | `put`, `get` or `erase`, and of what; an end repeats them |
//! | `value` | a `put`: what it writes, on both lines; the `ok` of a `get`: what it read, `null` for nothing; else `null`. May be left out for `null` |
//!
//! Empty lines and lines that begin with `#` are remarks. An operation without an end counts as
//! `info`. [`History::to_porcupine`] writes the same in the form of another checker.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Write this value.
    Put(String),
    /// Read.
    Get,
    /// Leave nothing there.
    Erase,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It was done. Of a get: the value, or nothing was there. Of a put: always `None`.
    Done(Option<String>),
    /// It was not done and never will be.
    NotDone,
    /// A put may take effect at any time after its call, or never; a get tells nothing.
    Unknown,
}

/// A point of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// The number of its event, counted from 0: what "before" means.
    pub order: usize,
    /// The time, for readers.
    pub at: u64,
}

/// One operation, from call to return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub process: u64,
    /// The key.
    pub key: String,
    /// What was asked for.
    pub action: Action,
    /// When it began.
    pub called: Moment,
    /// When it ended; `None` if the history ends before.
    pub returned: Option<Moment>,
    /// How it ended; [`Outcome::Unknown`] if it has not.
    pub outcome: Outcome,
}

/// Whether an event begins an operation, and if not, how it ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Invoke,
    Ok,
    Fail,
    Info,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Function {
    Put,
    Get,
    Erase,
}

/// A line of the text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    at: u64,
    process: u64,
    #[serde(rename = "type")]
    kind: Kind,
    f: Function,
    key: String,
    #[serde(default)]
    value: Option<String>,
}

/// What is wrong with a history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// A line is not an event.
    #[error("line {line}: {why}")]
    Line {
        /// Which, counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The form of Porcupine cannot tell an empty value from none.
    #[error("key {key:?}: an empty value cannot be written in Porcupine's form")]
    EmptyValue {
        /// The key with the empty value.
        key: String,
    },
}

/// The operations of all clients, in the order in which they began and ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    events: Vec<Event>,
    /// How many of them begin an operation.
    calls: usize,
    /// For each process that is busy, the number of the event that began it.
    open: BTreeMap<u64, usize>,
}

impl History {
    /// A history in which nothing has happened yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A process begins an operation at the time `at`.
    ///
    /// Panics if it has not ended its last one, or if `at` lies before the last event.
    pub fn call(&mut self, at: u64, process: u64, key: &str, action: Action) {
        let (f, value) = match action {
            Action::Put(value) => (Function::Put, Some(value)),
            Action::Get => (Function::Get, None),
            Action::Erase => (Function::Erase, None),
        };
        let key = key.to_string();
        let event = Event { at, process, kind: Kind::Invoke, f, key, value };
        self.push(event).unwrap_or_else(|why| panic!("call: {why}"));
    }

    /// A process ends its operation.
    ///
    /// Panics if it has none, if `at` lies before the last event, or if a put ends with a value.
    pub fn end(&mut self, at: u64, process: u64, outcome: Outcome) {
        let call = self.open.get(&process).map(|&number| self.events[number].clone());
        let call = call.unwrap_or_else(|| panic!("end: process {process} has called nothing"));
        let (kind, read) = match outcome {
            Outcome::Done(value) => (Kind::Ok, value),
            Outcome::NotDone => (Kind::Fail, None),
            Outcome::Unknown => (Kind::Info, None),
        };
        let value = read.or_else(|| call.value.clone());
        self.push(Event { at, kind, value, ..call }).unwrap_or_else(|why| panic!("end: {why}"));
    }

    fn push(&mut self, event: Event) -> Result<(), String> {
        let process = event.process;
        let now = self.events.last().map_or(0, |last| last.at);
        if event.at < now {
            return Err(format!("time goes back from {now} to {}", event.at));
        }
        match (event.kind, self.open.get(&process)) {
            (Kind::Invoke, Some(_)) => return Err(format!("process {process} is busy")),
            (Kind::Invoke, None) => {
                if (event.f == Function::Put) != event.value.is_some() {
                    return Err("a put is called with a value, a get without".to_string());
                }
                self.open.insert(process, self.events.len());
                self.calls += 1;
            }
            (_, None) => return Err(format!("process {process} has called nothing")),
            (_, Some(&number)) => {
                ends(&self.events[number], &event)?;
                self.open.remove(&process);
            }
        }
        self.events.push(event);
        Ok(())
    }

    /// How many operations have begun.
    pub fn len(&self) -> usize {
        self.calls
    }

    /// Whether none has begun.
    pub fn is_empty(&self) -> bool {
        self.calls == 0
    }

    /// The operations in the order of their calls.
    pub fn operations(&self) -> Vec<Operation> {
        let mut operations: Vec<Operation> = Vec::new();
        let mut busy = BTreeMap::new();
        for (order, event) in self.events.iter().enumerate() {
            let moment = Moment { order, at: event.at };
            if event.kind == Kind::Invoke {
                busy.insert(event.process, operations.len());
                operations.push(Operation {
                    process: event.process,
                    key: event.key.clone(),
                    action: event.action(),
                    called: moment,
                    returned: None,
                    outcome: Outcome::Unknown,
                });
            } else if let Some(number) = busy.remove(&event.process) {
                operations[number].returned = Some(moment);
                operations[number].outcome = event.outcome();
            }
        }
        operations
    }

    /// The text: one event a line.
    pub fn to_json_lines(&self) -> String {
        let mut text = String::new();
        for event in &self.events {
            text += &serde_json::to_string(event).expect("an event is plain data");
            text.push('\n');
        }
        text
    }

    /// Reads the text again.
    pub fn from_json_lines(text: &str) -> Result<Self, HistoryError> {
        let mut history = History::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let event = serde_json::from_str(line).map_err(|why| why.to_string());
            event
                .and_then(|event| history.push(event))
                .map_err(|why| HistoryError::Line { line: index + 1, why })?;
        }
        Ok(history)
    }

    /// The text that the tests of [Porcupine](https://github.com/anishathalye/porcupine) read, so
    /// that it, or whatever else reads that form, can judge the same history.
    ///
    /// Those tests know neither `:fail` nor a get that ended in doubt, and take an operation that
    /// was not done for one that may have been. Operations that constrain nothing are therefore
    /// left out: the verdict stays exactly the same. A put in doubt ends with `:info`, which they
    /// pass over, and its process goes on under a number that is not used elsewhere, as in Jepsen.
    /// Nothing to read is `""`, so a history with empty values cannot be written.
    pub fn to_porcupine(&self) -> Result<String, HistoryError> {
        let mut numbers = Numbers::over(&self.events);
        let operations = self.operations();
        let mut lines = BTreeMap::new();
        for operation in &operations {
            let Some((call, end)) = numbers.lines(operation)? else { continue };
            lines.insert(operation.called.order, call);
            if let Some(returned) = operation.returned {
                lines.insert(returned.order, end);
            }
        }
        Ok(lines.into_values().collect())
    }
}

impl Event {
    fn action(&self) -> Action {
        match (self.f, self.value.clone()) {
            (Function::Put, Some(value)) => Action::Put(value),
            (Function::Erase, _) => Action::Erase,
            (Function::Get | Function::Put, _) => Action::Get,
        }
    }

    fn outcome(&self) -> Outcome {
        match (self.kind, self.f) {
            (Kind::Ok, Function::Get) => Outcome::Done(self.value.clone()),
            (Kind::Ok, Function::Put | Function::Erase) => Outcome::Done(None),
            (Kind::Fail, _) => Outcome::NotDone,
            (Kind::Invoke | Kind::Info, _) => Outcome::Unknown,
        }
    }
}

/// Whether `event` can end what `call` began.
fn ends(call: &Event, event: &Event) -> Result<(), String> {
    if (call.f, &call.key) != (event.f, &event.key) {
        return Err(format!("process {} ends another operation than it began", call.process));
    }
    let fits = match (event.f, event.kind) {
        (Function::Put, _) => event.value.is_none() || event.value == call.value,
        (Function::Get, Kind::Ok) => true,
        (Function::Get | Function::Erase, _) => event.value.is_none(),
    };
    if fits { Ok(()) } else { Err(format!("a value that does not belong: {:?}", event.value)) }
}

/// Under which number each process goes in Porcupine's form.
struct Numbers {
    of: BTreeMap<u64, u64>,
    fresh: u64,
}

impl Numbers {
    fn over(events: &[Event]) -> Self {
        let highest = events.iter().map(|event| event.process).max();
        Numbers { of: BTreeMap::new(), fresh: highest.map_or(0, |highest| highest + 1) }
    }

    /// The lines of an operation's call and end; none for one that constrains nothing.
    fn lines(&mut self, operation: &Operation) -> Result<Option<(String, String)>, HistoryError> {
        let number = *self.of.entry(operation.process).or_insert(operation.process);
        let nothing = String::new();
        let (f, asked, ended, kind) = match (&operation.action, &operation.outcome) {
            (_, Outcome::NotDone) | (Action::Get, Outcome::Unknown) => return Ok(None),
            (Action::Get, Outcome::Done(read)) => ("get", None, read.as_ref(), "ok"),
            (Action::Put(value), Outcome::Done(_)) => ("put", Some(value), Some(value), "ok"),
            // There an empty value and none are the same.
            (Action::Erase, Outcome::Done(_)) => ("put", Some(&nothing), None, "ok"),
            (action, Outcome::Unknown) => {
                self.of.insert(operation.process, self.fresh);
                self.fresh += 1;
                match action {
                    Action::Put(value) => ("put", Some(value), Some(value), "info"),
                    _ => ("put", Some(&nothing), None, "info"),
                }
            }
        };
        if ended.is_some_and(String::is_empty) {
            return Err(HistoryError::EmptyValue { key: operation.key.clone() });
        }
        let line = |kind: &str, value: String| {
            let key = edn(&operation.key);
            format!("{{:process {number}, :type :{kind}, :f :{f}, :key {key}, :value {value}}}\n")
        };
        let call = line("invoke", asked.map_or("nil".to_string(), |value| edn(value)));
        Ok(Some((call, line(kind, edn(ended.map_or("", |value| value))))))
    }
}

/// A string as Clojure's data notation has it.
fn edn(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            c if c.is_control() => {
                write!(out, "\\u{:04x}", c as u32).expect("a string takes all");
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
