//! Loads a server of one of several kinds and says how fast it answers; `make bench` runs it.
//!
//! One thread waits for all connections, so that on a machine of two cores the server has one to
//! itself. Every reply is compared with what it must be; a wrong one ends the run with status 1. What
//! it finds is one line of JSON. `load` alone says how it is called.

mod arguments;
mod bare;
mod dialect;
mod drive;
mod etcd;
mod frames;
mod lines;
mod network;
mod ring;
mod samples;
mod view;

use std::io::Write as _;
use std::process::ExitCode;

use self::arguments::Arguments;

const USAGE: &str = "usage:
  load run --dialect frames|redis|memcached|etcd --addr HOST:PORT[,HOST:PORT...] --work WORK
           [--clients N] [--in-flight K] [--once 1] [--seconds S | --count N | --until FILE]
           [--keys N] [--in-order 1] [--rate PER_SECOND] [--samples FILE]
      WORK: get, set, setr, getr, lock, heartbeat, as far as the dialect has them
  load bare [--reply TEXT]      the same sockets and frames as a node, and one reply to everything
  load copy --bytes N           how long so many bytes take through a socket of this machine
  load view --servers N         how long a view leader computes, N servers in its view";

fn main() -> ExitCode {
    let arguments = Arguments::of(std::env::args().skip(1));
    let done = arguments.and_then(|arguments| match arguments.command() {
        "run" => drive::run(&arguments),
        "bare" => bare::serve(&arguments),
        "copy" => bare::copy(&arguments),
        "view" => view::measure(&arguments),
        _ => Err(USAGE.to_owned()),
    });
    match done {
        Ok(line) => {
            let _ = writeln!(std::io::stdout(), "{line}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "load: {why}");
            ExitCode::FAILURE
        }
    }
}
