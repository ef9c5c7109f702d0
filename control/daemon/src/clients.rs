//! The operator's socket: a line of JSON each way.
//!
//! A client can cost a bounded amount of memory and no time: requests are bounded, nothing waits for a
//! client, and one that neither asks nor reads is let go.

use crate::link::would_block;
use control_show::{Answer, REQUEST_MAX, Refusal, RefusalKind, Request};
use dataplane_flow::Instant;
use nix::poll::PollFlags;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Gid, Group, chown};
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The most clients at once.
const CLIENTS_MAX: usize = 64;
/// A client that is in the middle of something may pause so long.
const PAUSE_MS: u64 = 5_000;
/// A client that asks nothing is let go after so long.
const IDLE_MS: u64 = 600_000;
/// The group whose members may open the socket, where it exists.
const GROUP: &str = "flowswitch";

/// The listener and those who came.
#[derive(Debug)]
pub(crate) struct Clients {
    listener: UnixListener,
    path: PathBuf,
    clients: Vec<Client>,
    last: u64,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    id: u64,
    stream: UnixStream,
    /// Who it is, for the log: user and process.
    who: String,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// A request is being worked on.
    waiting: bool,
    /// Let go when the output is written.
    last_words: bool,
    deadline: Instant,
}

/// What a client asked.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) client: u64,
    pub(crate) who: String,
    pub(crate) request: Request,
}

impl Clients {
    /// Listens at `path`, mode 0660. What is left there of a process before this one is removed.
    pub(crate) fn listen(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        if let Ok(Some(group)) = Group::from_name(GROUP)
            && let Err(error) = chown(path, None, Some(Gid::from_raw(group.gid.as_raw())))
        {
            tracing::warn!(%error, "the socket stays with our own group");
        }
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path: path.to_owned(), clients: Vec::new(), last: 0 })
    }

    /// The listener.
    pub(crate) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Each client with what it is waited for; in an order that holds until the next `turn`.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.clients.iter().map(|client| (client.stream.as_fd(), client.interest()))
    }

    /// When somebody has to be let go.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let deadline =
            |client: &Client| if client.has_request() { Instant::default() } else { client.deadline };
        self.clients.iter().filter(|client| !client.waiting).map(deadline).min()
    }

    /// Takes one who has come; the next one after another look at who has gone.
    pub(crate) fn accept(&mut self, now: Instant) {
        let Ok((mut stream, _)) = self.listener.accept() else { return };
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        if self.clients.len() >= CLIENTS_MAX {
            let refusal = Refusal::new(RefusalKind::Busy, "too many clients at once; try again");
            // One small line fits an empty socket; if not, closing says the same.
            let _ = stream.write(&line(&Answer::Refused(refusal)));
            return;
        }
        self.last += 1;
        self.clients.push(Client {
            id: self.last,
            who: credentials(&stream),
            stream,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            waiting: false,
            last_words: false,
            deadline: now.plus_millis(PAUSE_MS),
        });
    }

    /// Reads, writes and lets go; `ready` are the flags of each client in the order of `interests`.
    pub(crate) fn turn(&mut self, ready: &[PollFlags], now: Instant) -> Vec<Asked> {
        let mut asked = Vec::new();
        let mut place = 0;
        self.clients.retain_mut(|client| {
            let ready = ready.get(place).copied().unwrap_or(PollFlags::empty());
            place += 1;
            let keep = client.turn(ready, now);
            if keep && let Some(request) = client.request(now) {
                asked.push(Asked { client: client.id, who: client.who.clone(), request });
            }
            keep && !client.is_done() && (client.waiting || client.deadline > now)
        });
        asked
    }

    /// Answers a client, if it is still there.
    pub(crate) fn answer(&mut self, id: u64, answer: &Answer, now: Instant) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
            client.answer(answer, now);
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Client {
    fn interest(&self) -> PollFlags {
        if !self.output.is_empty() {
            PollFlags::POLLOUT
        } else if self.waiting {
            PollFlags::empty()
        } else {
            PollFlags::POLLIN
        }
    }

    /// Whether the client stays.
    fn turn(&mut self, ready: PollFlags, now: Instant) -> bool {
        if ready.contains(PollFlags::POLLOUT) && !self.write(now) {
            return false;
        }
        if ready.contains(PollFlags::POLLIN) {
            return self.read(now);
        }
        // Hung up, and nothing left to read.
        !ready.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL)
    }

    fn read(&mut self, now: Instant) -> bool {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return false,
                Ok(length) => {
                    if self.input.is_empty() {
                        self.deadline = now.plus_millis(PAUSE_MS);
                    }
                    self.input.extend_from_slice(&chunk[..length]);
                    if self.input.contains(&b'\n') {
                        return true;
                    }
                    if self.input.len() >= REQUEST_MAX {
                        self.refuse(format!("a request has at most {REQUEST_MAX} bytes"), now);
                        return true;
                    }
                }
                Err(error) if would_block(&error) => return true,
                Err(_) => return false,
            }
        }
    }

    fn has_request(&self) -> bool {
        !self.waiting && !self.last_words && self.output.is_empty() && self.input.contains(&b'\n')
    }

    /// It has heard the last words, or cannot hear any.
    fn is_done(&self) -> bool {
        self.last_words && self.output.is_empty()
    }

    /// The next whole request, if none is being worked on.
    fn request(&mut self, now: Instant) -> Option<Request> {
        if !self.has_request() {
            return None;
        }
        let end = self.input.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.input.drain(..=end).collect();
        match serde_json::from_slice(&line) {
            Ok(request) => {
                self.waiting = true;
                Some(request)
            }
            Err(error) => {
                self.refuse(format!("not a request: {error}"), now);
                None
            }
        }
    }

    /// Says why, then lets the client go.
    fn refuse(&mut self, message: String, now: Instant) {
        self.answer(&Answer::Refused(Refusal::new(RefusalKind::BadRequest, message)), now);
        self.last_words = true;
        self.input.clear();
    }

    fn answer(&mut self, answer: &Answer, now: Instant) {
        self.waiting = false;
        self.deadline = now.plus_millis(PAUSE_MS);
        self.output = line(answer);
        self.written = 0;
        // What does not go now goes when the socket says so.
        if !self.write(now) {
            self.last_words = true;
            self.output.clear();
        }
    }

    fn write(&mut self, now: Instant) -> bool {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(length) => {
                    self.written += length;
                    self.deadline = now.plus_millis(PAUSE_MS);
                }
                Err(error) if would_block(&error) => return true,
                Err(_) => return false,
            }
        }
        self.output = Vec::new();
        self.deadline = now.plus_millis(if self.input.is_empty() { IDLE_MS } else { PAUSE_MS });
        !self.last_words
    }
}

fn line(answer: &Answer) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer).expect("answers hold nothing that JSON cannot");
    line.push(b'\n');
    line
}

fn credentials(stream: &UnixStream) -> String {
    match getsockopt(stream, PeerCredentials) {
        Ok(peer) => format!("user {} process {}", peer.uid(), peer.pid()),
        Err(_) => "somebody".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_show::What;

    /// A listener, and what time it is.
    fn lab(name: &str) -> (Clients, PathBuf) {
        let path = std::env::temp_dir().join(format!("fs-clients-{name}-{}", std::process::id()));
        (Clients::listen(&path).unwrap(), path)
    }

    fn ready(clients: &Clients) -> Vec<PollFlags> {
        clients.interests().map(|(_, interest)| interest).collect()
    }

    #[test]
    fn one_who_asks_slowly_is_let_go() {
        let (mut clients, path) = lab("slow");
        let mut slow = UnixStream::connect(&path).unwrap();
        clients.accept(Instant::from_secs(1));
        slow.write_all(b"{\"show\":").unwrap();
        let flags = ready(&clients);
        assert!(clients.turn(&flags, Instant::from_secs(2)).is_empty());
        assert_eq!(clients.next_deadline(), Some(Instant::from_secs(7)));
        clients.turn(&[], Instant::from_secs(7));
        assert_eq!(clients.interests().count(), 0);
    }

    #[test]
    fn one_who_does_not_read_the_answer_is_let_go() {
        let (mut clients, path) = lab("deaf");
        let mut deaf = UnixStream::connect(&path).unwrap();
        clients.accept(Instant::from_secs(1));
        deaf.write_all(b"{\"show\":\"ports\"}\n").unwrap();
        let flags = ready(&clients);
        let asked = clients.turn(&flags, Instant::from_secs(1));
        assert_eq!(asked[0].request, Request::Show(What::Ports));
        assert_eq!(clients.next_deadline(), None, "it waits for us, not we for it");
        let long = Refusal::new(RefusalKind::Busy, "x".repeat(8 << 20));
        clients.answer(asked[0].client, &Answer::Refused(long), Instant::from_secs(100));
        assert_eq!(ready(&clients), [PollFlags::POLLOUT]);
        clients.turn(&[PollFlags::empty()], Instant::from_secs(104));
        assert_eq!(clients.interests().count(), 1);
        clients.turn(&[PollFlags::empty()], Instant::from_secs(105));
        assert_eq!(clients.interests().count(), 0);
    }

    #[test]
    fn the_socket_goes_with_us_and_what_was_left_of_it_does_not_matter() {
        let (clients, path) = lab("stale");
        core::mem::forget(clients);
        let again = Clients::listen(&path).unwrap();
        drop(again);
        assert!(!path.exists());
    }
}
