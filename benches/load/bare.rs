//! The limit: the same runtime, sockets and frames as a node, and nothing behind them.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};

use dht::core::wire::frame;

use super::arguments::Arguments;
use super::dialect::push_value;

const READ_BYTES: usize = 64 * 1024;

/// Serves until the process is ended; the port is its first line of output.
pub(crate) fn serve(arguments: &Arguments) -> Result<String, String> {
    let mut reply = b"{\"status\": \"ok\", \"value\": ".to_vec();
    push_value(&mut reply, 0);
    reply.push(b'}');
    if let Some(text) = arguments.get::<String>("reply")? {
        reply = text.into_bytes();
    }
    let reply: std::rc::Rc<[u8]> = frame::encode(&reply).into();
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_io().enable_time().build_local(LocalOptions::default());
    let runtime = runtime.map_err(|error| error.to_string())?;
    let served: std::io::Result<()> = runtime.block_on(async {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))).await?;
        let port = listener.local_addr()?.port();
        writeln!(std::io::stdout(), "listening on 127.0.0.1:{port}")?;
        std::io::stdout().flush()?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(answer(stream, reply.clone()));
        }
    });
    served.map_err(|error| error.to_string())?;
    Err("the listener has ended".to_owned())
}

async fn answer(mut stream: TcpStream, reply: std::rc::Rc<[u8]>) {
    let (mut reader, mut writer) = stream.split();
    let (mut input, mut output, mut buffer) = (Vec::new(), Vec::new(), vec![0; READ_BYTES]);
    loop {
        let read = poll_fn(|context| {
            let mut room = ReadBuf::new(&mut buffer);
            let read = Pin::new(&mut reader).poll_read(context, &mut room);
            read.map_ok(|()| room.filled().len())
        });
        let Ok(count @ 1..) = read.await else { return };
        input.extend_from_slice(&buffer[..count]);
        let mut at = 0;
        while let Ok(Some(end)) = frame::decode(&input[at..], frame::FRAME_BYTES_MAX) {
            at += end;
            output.extend_from_slice(&reply);
        }
        input.drain(..at);
        if writer.write_all(&output).await.is_err() {
            return;
        }
        output.clear();
    }
}

/// Sends bytes from one thread to another; how long that took.
pub(crate) fn copy(arguments: &Arguments) -> Result<String, String> {
    let bytes: usize = arguments.or("bytes", 1 << 26)?;
    let talk = || -> std::io::Result<f64> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.local_addr()?;
        let began = Instant::now();
        let sender = std::thread::spawn(move || -> std::io::Result<()> {
            let mut stream = std::net::TcpStream::connect(addr)?;
            let block = vec![7; READ_BYTES];
            let mut rest = bytes;
            while rest > 0 {
                let count = rest.min(block.len());
                stream.write_all(&block[..count])?;
                rest -= count;
            }
            Ok(())
        });
        let (mut stream, _) = listener.accept()?;
        let (mut block, mut kept) = (vec![0; READ_BYTES], Vec::with_capacity(bytes));
        while kept.len() < bytes {
            let count = stream.read(&mut block)?;
            if count == 0 {
                break;
            }
            kept.extend_from_slice(&block[..count]);
        }
        let seconds = began.elapsed().as_secs_f64();
        sender.join().map_err(|_| std::io::Error::other("the sender panicked"))??;
        assert_eq!(kept.len(), bytes, "the copy is whole");
        Ok(seconds)
    };
    let seconds = talk().map_err(|error| error.to_string())?;
    Ok(format!(r#"{{"bytes": {bytes}, "seconds": {seconds:.6}}}"#))
}
