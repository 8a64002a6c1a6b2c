//! One thread that carries the calls of clients which have many under way: the asyncio client's,
//! and those that name many names at once.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::client::ClientOptions;
use super::hosts::{Hosts, SERVER_PORTS, VIEWLEADER_PORTS};
use super::remote::{Command, Remote};
use super::runtime;
use super::session::{Parties, Session};

/// The thread; it lives as long as this or a [`Remote`] of it does.
#[derive(Debug)]
pub struct Engine {
    opened: UnboundedSender<Opened>,
}

/// A client that begins.
struct Opened {
    options: ClientOptions,
    parties: Parties,
    commands: UnboundedReceiver<Command>,
}

impl Engine {
    /// Starts the thread.
    pub fn start() -> io::Result<Engine> {
        let (opened, news) = unbounded_channel();
        let run = |runtime, ()| runtime::run(runtime, serve(news));
        runtime::spawn("dht-client".to_owned(), || Ok(()), run)?;
        Ok(Engine { opened })
    }

    /// A client on this thread, which connects with its first call; `InvalidInput` for an address
    /// that cannot be understood.
    pub fn open(&self, options: ClientOptions) -> io::Result<Remote> {
        let parties = Parties {
            viewleader: Arc::new(Hosts::parse(&options.viewleader, VIEWLEADER_PORTS)?),
            server: Arc::new(Hosts::parse(&options.server, SERVER_PORTS)?),
        };
        let (sender, commands) = unbounded_channel();
        // The thread ends only after this.
        let _ = self.opened.send(Opened { options, parties, commands });
        Ok(Remote::new(sender))
    }
}

/// Runs a session for each client, until nobody can begin one and all have ended.
async fn serve(mut news: UnboundedReceiver<Opened>) {
    let mut sessions = tokio::task::JoinSet::new();
    while let Some(Opened { options, parties, commands }) = news.recv().await {
        sessions.spawn_local(Session::new(options, parties).run(commands));
        // What has ended is forgotten; a panic was reported on this thread.
        while sessions.try_join_next().is_some() {}
    }
    while sessions.join_next().await.is_some() {}
}
