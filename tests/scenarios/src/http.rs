//! A small HTTP client that chooses its own address and port, and keeps connections open.

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long any step of a request may take: TCP's own sixth repetition comes after 13 s, its seventh after 26 s.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a server.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

/// What a server answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The server's name.
    pub server: String,
    /// Bytes of the body.
    pub length: usize,
    /// A hash of the body.
    pub hash: u64,
}

impl Connection {
    /// Connects from the calling thread's namespace; from `from` where it is given.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn open(from: Option<SocketAddr>, to: SocketAddr) -> Result<Self> {
        let stream = connect(from, to, PATIENCE).with_context(|| format!("connect to {to} from {from:?}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::with_capacity(4096, stream) })
    }

    /// Asks for a page and reads the whole answer.
    ///
    /// # Errors
    ///
    /// When the connection breaks or the answer is not 200.
    pub fn get(&mut self, path: &str) -> Result<Reply> {
        self.ask(path)?;
        self.answer()
    }

    /// Sends the question only.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn ask(&mut self, path: &str) -> Result<()> {
        // In one piece: a question is one segment.
        let question = format!("GET {path} HTTP/1.1\r\nHost: lab\r\n\r\n");
        self.stream.get_mut().write_all(question.as_bytes()).context("send a request")
    }

    /// Reads an answer.
    ///
    /// # Errors
    ///
    /// When the connection breaks or the answer is not 200.
    pub fn answer(&mut self) -> Result<Reply> {
        let (server, length) = self.head()?;
        let (mut hash, mut rest) = (0xcbf2_9ce4_8422_2325_u64, length);
        while rest > 0 {
            let chunk = self.stream.fill_buf().context("read a body")?;
            if chunk.is_empty() {
                bail!("the connection ended {rest} bytes early");
            }
            let used = chunk.len().min(rest);
            for byte in &chunk[..used] {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
            self.stream.consume(used);
            rest -= used;
        }
        Ok(Reply { server, length, hash })
    }

    /// Reads an answer's head: (server, length of the body).
    ///
    /// # Errors
    ///
    /// When the connection breaks or the answer is not 200.
    pub fn head(&mut self) -> Result<(String, usize)> {
        let (mut server, mut length, mut status) = (String::new(), 0, String::new());
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).context("read an answer")? == 0 {
                bail!("the connection ended before the answer");
            }
            let line = line.trim_end();
            if status.is_empty() {
                line.clone_into(&mut status);
            } else if line.is_empty() {
                break;
            } else if let Some((name, value)) = line.split_once(": ") {
                match name.to_ascii_lowercase().as_str() {
                    "x-server" => value.clone_into(&mut server),
                    "content-length" => length = value.parse()?,
                    _ => {}
                }
            }
        }
        if !status.starts_with("HTTP/1.1 200") {
            bail!("the answer was {status:?}");
        }
        Ok((server, length))
    }

    /// Reads exactly `count` bytes of a body.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn body(&mut self, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).context("read a body")?;
        Ok(bytes)
    }

    /// It was reset or ended by the other side; what has come and was not read is passed over.
    pub fn is_over(&self) -> bool {
        let stream = self.stream.get_ref();
        let mut byte = [0];
        let looked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut byte));
        let _ = stream.set_nonblocking(false);
        !matches!(looked, Ok(1..)) && !looked.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Its own address.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn local(&self) -> Result<SocketAddr> {
        Ok(self.stream.get_ref().local_addr()?)
    }
}

/// Connects a TCP stream from the calling thread's namespace.
///
/// # Errors
///
/// What the kernel says.
pub fn connect(from: Option<SocketAddr>, to: SocketAddr, limit: Duration) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(from) = from {
        socket.set_reuse_address(true)?;
        socket.bind(&SockAddr::from(from))?;
    }
    socket.connect_timeout(&SockAddr::from(to), limit)?;
    Ok(socket.into())
}
