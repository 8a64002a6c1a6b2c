//! A toy machine that does what its requests say, and a client that sends them.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use dht::core::machine::{
    CallError, CallId, Input, Machine, Millis, Note, Output, ReplyTo, Target, Then,
};
use dht::core::wire::frame::{PEER_MARK, encode};
use dht::net::{Limits, Node, NodeOptions};
use socket2::{Domain, Socket, Type};

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The first word of a request says what to do:
///
/// `keep X`, `plain X`, `close X` reply X; `later MS X` replies X after a while; `hold X` replies X
/// when a `release` comes, the last held first; `long N` replies N bytes; `call POOL MS ADDR X`
/// calls and replies how that ended, ADDR being `leader` for the view leader; `send ADDR X` sends a
/// frame of replicas; `heard` and `gone` tell which such frames, and which disconnections, came;
/// `origin`, `note` and `panic` do as they say.
#[derive(Default)]
pub(crate) struct Toy {
    held: Vec<(ReplyTo, String)>,
    later: BTreeMap<(Millis, ReplyTo), String>,
    calls: BTreeMap<CallId, ReplyTo>,
    heard: Vec<String>,
    gone: Vec<String>,
}

impl Machine for Toy {
    fn handle(&mut self, now: Millis, input: Input<'_>, out: &mut Vec<Output>) {
        match input {
            Input::Start | Input::Leave | Input::Persisted { .. } => {}
            Input::Tick => {
                while let Some(entry) = self.later.first_entry().filter(|e| e.key().0 <= now) {
                    let ((_, to), text) = entry.remove_entry();
                    out.push(reply(to, text, Then::Keep));
                }
            }
            Input::Disconnected { addr } => self.gone.push(addr),
            Input::Returned { call, result } => {
                let text = match result {
                    Ok(reply) => format!("ok {}", String::from_utf8_lossy(&reply)),
                    Err(CallError::Refused) => "refused".to_owned(),
                    Err(CallError::NotSent(why)) => format!("not sent: {why}"),
                    Err(CallError::Lost(why)) => format!("lost: {why}"),
                };
                out.push(reply(self.calls.remove(&call).unwrap(), text, Then::Keep));
            }
            Input::Frame { message, .. } if message[0] == PEER_MARK => {
                self.heard.push(String::from_utf8_lossy(&message[1..]).into_owned());
            }
            Input::Frame { to, message, origin } => {
                let text = String::from_utf8_lossy(&message).into_owned();
                match text.as_str() {
                    "origin" => {
                        let text = format!("{} {}", origin.peer_ip, origin.local_ip);
                        out.push(reply(to, text, Then::Keep));
                    }
                    text => self.request(now, to, text, out),
                }
            }
        }
    }

    fn deadline(&self) -> Option<Millis> {
        self.later.keys().next().map(|(at, _)| *at)
    }
}

impl Toy {
    fn request(&mut self, now: Millis, to: ReplyTo, text: &str, out: &mut Vec<Output>) {
        let words: Vec<&str> = text.splitn(5, ' ').collect();
        match words[..] {
            ["keep", ..] => out.push(reply(to, text[5..].to_owned(), Then::Keep)),
            ["plain", ..] => out.push(reply(to, text[6..].to_owned(), Then::Linger)),
            ["close", ..] => out.push(reply(to, text[6..].to_owned(), Then::Close)),
            ["long", count] => {
                out.push(reply(to, "x".repeat(count.parse().unwrap()), Then::Keep));
            }
            ["later", ms, text] => {
                self.later.insert((now + ms.parse::<Millis>().unwrap(), to), text.to_owned());
            }
            ["hold", text] => self.held.push((to, text.to_owned())),
            ["release"] => {
                out.push(reply(to, "released".to_owned(), Then::Keep));
                for (to, text) in self.held.drain(..).rev() {
                    out.push(reply(to, text, Then::Keep));
                }
            }
            ["call", pool, ms, addr, message] => {
                let call = CallId(to.0);
                self.calls.insert(call, to);
                out.push(Output::Call {
                    call,
                    target: match addr {
                        "leader" => Target::Leader,
                        addr => Target::Addr(addr.to_owned()),
                    },
                    message: message.as_bytes().to_vec(),
                    timeout_ms: ms.parse().unwrap(),
                    keep: pool == "pool",
                });
            }
            ["send", addr, text] => {
                let message = [&[PEER_MARK], text.as_bytes()].concat();
                out.push(Output::Send { addr: addr.into(), message });
                out.push(reply(to, "sent".to_owned(), Then::Keep));
            }
            ["heard"] => out.push(reply(to, self.heard.join(","), Then::Keep)),
            ["gone"] => out.push(reply(to, self.gone.join(","), Then::Keep)),
            ["note"] => {
                out.push(Output::Note(Note::AllKeys));
                out.push(reply(to, "noted".to_owned(), Then::Keep));
            }
            ["panic"] => panic!("a test asked for it"),
            _ => out.push(reply(to, format!("what is {text}?"), Then::Close)),
        }
    }
}

fn reply(to: ReplyTo, text: String, then: Then) -> Output {
    Output::Reply { to, message: text.into_bytes(), then }
}

/// A node that runs the toy on the loopback interface.
pub(crate) fn toy(limits: Limits) -> Node {
    toy_of("localhost", limits)
}

/// The same, with a view leader.
pub(crate) fn toy_of(viewleader: &str, limits: Limits) -> Node {
    let viewleader = viewleader.to_owned();
    let bind = "127.0.0.1".to_owned();
    let options = NodeOptions { bind, viewleader, limits, ..NodeOptions::default() };
    Node::spawn(options, |_| Toy::default()).unwrap()
}

/// A plain connection to a node.
pub(crate) struct Wire(pub(crate) TcpStream);

impl Wire {
    pub(crate) fn to(node: &Node) -> Self {
        Wire::open(node.address())
    }

    pub(crate) fn open(addr: &str) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire(stream)
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.0.write_all(&encode(text.as_bytes())).unwrap();
    }

    /// The next message; `None` at the connection's clean end.
    pub(crate) fn receive(&mut self) -> Option<String> {
        let mut header = [0; 4];
        let mut count = 0;
        while count < 4 {
            match self.0.read(&mut header[count..]).unwrap() {
                0 if count == 0 => return None,
                0 => panic!("the connection ended inside a frame"),
                more => count += more,
            }
        }
        let mut message = vec![0; i32::from_be_bytes(header) as usize];
        self.0.read_exact(&mut message).unwrap();
        Some(String::from_utf8(message).unwrap())
    }

    pub(crate) fn ask(&mut self, text: &str) -> String {
        self.send(text);
        self.receive().expect("a reply")
    }
}

/// An address at which nobody listens, for as long as the socket lives.
pub(crate) fn nobody() -> (Socket, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr.to_string())
}

/// An address whose listener takes no more connections, and keeps silent to those who try.
pub(crate) fn crowded() -> (Socket, Vec<Socket>, String) {
    let stream = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let listener = stream();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap();
    let waiting = (0..10)
        .map(|_| stream())
        .take_while(|socket| socket.connect_timeout(&addr, Duration::from_millis(100)).is_ok());
    let waiting = waiting.collect();
    (listener, waiting, addr.as_socket().unwrap().to_string())
}

/// Asks until the answer is as wanted.
pub(crate) fn wait_for(node: &Node, request: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut wire = Wire::to(node);
    wait_until(|| Some(wire.ask(request)).filter(|text| wanted(text)))
}

/// Tries until there is a result.
pub(crate) fn wait_until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(Instant::now() < deadline, "it did not happen in time");
        std::thread::sleep(Duration::from_millis(1));
    }
}
