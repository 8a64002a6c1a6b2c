//! Keeps so many operations under way for so long.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::arguments::Arguments;
use super::dialect::{Dialect, Op, Taken};
use super::network::{Connection, scratch};
use super::{etcd, frames, lines, samples::Samples};

/// How many parties a client can know.
const PARTIES_MAX: usize = 64;

/// How often to look whether the load shall end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many addresses of this machine connections for one request each go to in turns, so that the
/// ports of connections that have just closed never run out.
const LOCAL_ADDRESSES: u64 = 64;

/// How long to wait before an operation is sent again that its server would not do.
const AGAIN_AFTER: Duration = Duration::from_millis(1);

/// Runs the load that the arguments describe; one line of JSON.
pub(crate) fn run(arguments: &Arguments) -> Result<String, String> {
    let addresses = addresses(arguments.text("addr")?)?;
    let work = arguments.text("work")?;
    let mut dialect: Box<dyn Dialect> = match arguments.text("dialect")? {
        "frames" => Box::new(frames::Frames::new(addresses, work)?),
        "redis" => Box::new(lines::Redis::new(addresses, work)?),
        "memcached" => Box::new(lines::Memcached::new(addresses, work)?),
        "etcd" => Box::new(etcd::Etcd::new(addresses, work)?),
        other => return Err(format!("no dialect {other}")),
    };
    let samples = Samples::new(arguments.get::<String>("samples")?.is_some());
    let mut load = Load::new(arguments, samples)?;
    load.run(dialect.as_mut())?;
    if let Some(path) = arguments.get::<String>("samples")? {
        load.write_samples(dialect.as_mut(), &path)?;
    }
    Ok(load.told())
}

fn addresses(text: &str) -> Result<Vec<SocketAddr>, String> {
    let resolve = |part: &str| part.to_socket_addrs().ok().and_then(|mut found| found.next());
    text.split(',').map(|part| resolve(part).ok_or(format!("{part} is no address"))).collect()
}

/// A load, and how far it is.
struct Load {
    clients: usize,
    in_flight: usize,
    once: bool,
    seconds: Option<f64>,
    count: u64,
    keys: u64,
    in_order: bool,
    rate: Option<f64>,
    /// The load ends when this file is there.
    until: Option<PathBuf>,
    stops: bool,
    poll: Poll,
    connections: Vec<Option<Box<Connection>>>,
    /// The clients that wait for their next turn, where the rate is bounded.
    idle: Vec<usize>,
    /// Operations to be sent again.
    again: Vec<Op>,
    begun: u64,
    open: usize,
    opened: u64,
    random: u64,
    began: Instant,
    ended: Instant,
    samples: Samples,
}

impl Load {
    fn new(arguments: &Arguments, samples: Samples) -> Result<Self, String> {
        let clients: usize = arguments.or("clients", 1)?;
        let now = Instant::now();
        let mut connections = Vec::new();
        connections.resize_with(clients * PARTIES_MAX, || None);
        Ok(Load {
            clients,
            in_flight: arguments.or("in-flight", 1)?,
            once: arguments.or("once", 0)? != 0,
            seconds: arguments.get("seconds")?,
            count: arguments.or("count", u64::MAX)?,
            keys: arguments.or("keys", 10_000)?,
            in_order: arguments.or("in-order", 0)? != 0,
            rate: arguments.get("rate")?,
            until: arguments.get("until")?,
            stops: false,
            poll: Poll::new().map_err(told)?,
            connections,
            idle: Vec::new(),
            again: Vec::new(),
            begun: 0,
            open: 0,
            opened: 0,
            random: 0x9e37_79b9_7f4a_7c15,
            began: now,
            ended: now,
            samples,
        })
    }

    fn run(&mut self, dialect: &mut dyn Dialect) -> Result<(), String> {
        let (mut events, mut buffer) = (Events::with_capacity(1024), scratch());
        self.began = Instant::now();
        self.begin_all(dialect)?;
        let mut heard = Instant::now();
        let mut looked = heard;
        while self.open > 0 || self.goes_on() {
            if looked.elapsed() > LOOK_EVERY {
                looked = Instant::now();
                self.stops = self.until.as_ref().is_some_and(|path| path.exists());
            }
            self.poll.poll(&mut events, Some(self.pause())).map_err(told)?;
            for event in &events {
                heard = Instant::now();
                self.serve(dialect, event.token(), &mut buffer)?;
            }
            self.send_again(dialect)?;
            self.begin_due(dialect)?;
            if self.open > 0 && heard.elapsed() > PATIENCE {
                return Err("no reply in time".to_owned());
            }
        }
        self.ended = Instant::now();
        Ok(())
    }

    fn begin_all(&mut self, dialect: &mut dyn Dialect) -> Result<(), String> {
        for client in 0..self.clients {
            for _ in 0..self.in_flight {
                if self.rate.is_some() {
                    self.idle.push(client);
                } else {
                    self.begin(dialect, client)?;
                }
            }
            self.flush(client)?;
        }
        Ok(())
    }

    /// Whether further operations begin.
    fn goes_on(&self) -> bool {
        if self.stops {
            return false;
        }
        let time = self.seconds.is_none_or(|limit| self.began.elapsed().as_secs_f64() < limit);
        time && self.begun < self.count
    }

    fn pause(&self) -> Duration {
        if !self.again.is_empty() || self.rate.is_some() {
            return AGAIN_AFTER;
        }
        Duration::from_millis(200)
    }

    /// Begins what the rate allows.
    fn begin_due(&mut self, dialect: &mut dyn Dialect) -> Result<(), String> {
        let Some(rate) = self.rate else { return Ok(()) };
        let due = (self.began.elapsed().as_secs_f64() * rate) as u64;
        while self.begun < due && self.goes_on() {
            let Some(client) = self.idle.pop() else { break };
            self.begin(dialect, client)?;
            self.flush(client)?;
        }
        Ok(())
    }

    fn begin(&mut self, dialect: &mut dyn Dialect, client: usize) -> Result<(), String> {
        if !self.goes_on() {
            return Ok(());
        }
        let key = if self.in_order { self.begun % self.keys } else { self.draw() % self.keys };
        let op = Op { client, number: self.begun, key, repeated: false, began: Instant::now() };
        self.begun += 1;
        self.open += 1;
        self.send(dialect, op)
    }

    /// Marsaglia's xorshift64.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn send(&mut self, dialect: &mut dyn Dialect, op: Op) -> Result<(), String> {
        let party = dialect.route(&op);
        let mut addr = dialect.addresses()[party];
        if self.once {
            self.opened += 1;
            let host = Ipv4Addr::new(127, 0, 0, 1 + (self.opened % LOCAL_ADDRESSES) as u8);
            addr.set_ip(host.into());
        }
        let token = op.client * PARTIES_MAX + party;
        let connection = self.connections[token].get_or_insert_default();
        if connection.open(self.poll.registry(), Token(token), addr).map_err(told)? {
            dialect.hello(&mut connection.output);
        }
        dialect.ask(&mut connection.said, &op, &mut connection.output);
        connection.ops.push_back(op);
        Ok(())
    }

    /// Sends what was said on the connections of a client.
    fn flush(&mut self, client: usize) -> Result<(), String> {
        let first = client * PARTIES_MAX;
        for connection in self.connections[first..first + PARTIES_MAX].iter_mut().flatten() {
            if !connection.output.is_empty() {
                connection.flush().map_err(told)?;
            }
        }
        Ok(())
    }

    /// Takes the replies of a connection and begins what comes next.
    fn serve(
        &mut self,
        dialect: &mut dyn Dialect,
        token: Token,
        buffer: &mut [u8],
    ) -> Result<(), String> {
        let client = token.0 / PARTIES_MAX;
        let Some(mut connection) = self.connections[token.0].take() else { return Ok(()) };
        let ended = connection.fill(buffer).map_err(told)?;
        let (mut at, mut next) = (0, 0);
        while at < connection.input.len() {
            let Connection { input, output, ops, said, .. } = &mut *connection;
            match dialect.take(said, &input[at..], ops.front(), output)? {
                Taken::More => break,
                Taken::Skip(count) => at += count,
                Taken::Done(count) => {
                    at += count;
                    let op = ops.pop_front().ok_or("a reply to nothing")?;
                    self.done(dialect, &op);
                    next += 1;
                }
                Taken::Again(count) => {
                    at += count;
                    self.again.extend(ops.pop_front());
                }
            }
        }
        connection.input.drain(..at);
        if ended && !connection.ops.is_empty() {
            return Err("the connection was closed before the reply".to_owned());
        }
        if ended || (self.once && next > 0) {
            connection.close();
        }
        self.connections[token.0] = Some(connection);
        for _ in 0..next {
            if self.rate.is_some() {
                self.idle.push(client);
            } else {
                self.begin(dialect, client)?;
            }
        }
        self.flush(client)
    }

    fn done(&mut self, dialect: &dyn Dialect, op: &Op) {
        let slot = if self.samples.keeps() { dialect.place(op).0 } else { 0 };
        self.samples.add(op.began, Instant::now(), slot);
        self.open -= 1;
    }

    fn send_again(&mut self, dialect: &mut dyn Dialect) -> Result<(), String> {
        if self.again.is_empty() {
            return Ok(());
        }
        dialect.learn()?;
        for mut op in std::mem::take(&mut self.again) {
            if op.began.elapsed() > PATIENCE {
                return Err("an operation was refused for too long".to_owned());
            }
            op.repeated = true;
            let client = op.client;
            self.send(dialect, op)?;
            self.flush(client)?;
        }
        Ok(())
    }

    fn write_samples(&self, dialect: &mut dyn Dialect, path: &str) -> Result<(), String> {
        dialect.learn()?;
        let mut moved = vec![false; usize::from(u16::MAX)];
        for key in 0..self.keys {
            let op = Op { client: 0, number: 0, key, repeated: false, began: self.began };
            let (slot, moves) = dialect.place(&op);
            moved[usize::from(slot)] = moves;
        }
        self.samples.write(path, |slot| moved[usize::from(slot)]).map_err(told)
    }

    fn told(&self) -> String {
        let seconds = (self.ended - self.began).as_secs_f64();
        let count = self.samples.count();
        format!(
            r#"{{"count": {count}, "seconds": {seconds:.6}, "per_second": {:.1}, "p50_us": {:.1}, "p99_us": {:.1}, "max_us": {:.1}}}"#,
            count as f64 / seconds,
            self.samples.percentile_us(0.5),
            self.samples.percentile_us(0.99),
            self.samples.longest_us(),
        )
    }
}

fn told(error: std::io::Error) -> String {
    error.to_string()
}
