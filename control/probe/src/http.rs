//! An HTTP request, and a reader of the answer that trusts nothing.
//!
//! Read first: RFC 9112 §3 (request), §4 (status line), §6.3 (length of the body), §7.1 (chunks).

use crate::search::Search;
use crate::{Failure, Http, StatusRange};
use std::net::IpAddr;

/// The most bytes of heads that are read, informational answers included.
pub(crate) const HEAD_MAX: usize = 16 * 1024;

/// The most bytes of a body that are read.
pub(crate) const BODY_MAX: usize = 64 * 1024;

/// The longest line with a chunk's size and its extensions.
const CHUNK_LINE_MAX: usize = 256;

/// The most header fields.
const HEADERS_MAX: usize = 128;

const PATH_MAX: usize = 1024;
const HOST_MAX: usize = 255;

/// The bytes of the request; `None` when path or host would make it another request.
pub(crate) fn request(check: &Http, vip: IpAddr) -> Option<Vec<u8>> {
    let visible = |text: &str, max: usize| {
        !text.is_empty() && text.len() <= max && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let host = match &check.host {
        Some(host) => host.clone(),
        None => {
            let usual = if check.tls { 443 } else { 80 };
            let colon = if check.port == usual { String::new() } else { format!(":{}", check.port) };
            match vip {
                IpAddr::V4(vip) => format!("{vip}{colon}"),
                IpAddr::V6(vip) => format!("[{vip}]{colon}"),
            }
        }
    };
    let good = check.path.starts_with('/') && visible(&check.path, PATH_MAX) && visible(&host, HOST_MAX);
    good.then(|| {
        let path = &check.path;
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: flowswitch\r\nAccept: */*\r\n\
             Connection: close\r\n\r\n"
        )
        .into_bytes()
    })
}

/// Reads one answer, piece by piece; holds at most [`HEAD_MAX`] bytes of it.
#[derive(Debug)]
pub(crate) struct Reader {
    good: StatusRange,
    /// `None`: the head says all.
    search: Option<Search>,
    stage: Stage,
    /// What is there of the head, or of a chunk's line.
    held: Vec<u8>,
    head_left: usize,
    body_left: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Head,
    /// So many bytes of body, and no more.
    Sized(u64),
    UntilClose,
    ChunkLine,
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
}

/// `None`: more is needed.
type Verdict = Option<Result<(), Failure>>;

impl Reader {
    pub(crate) fn new(check: &Http) -> Self {
        Self {
            good: check.status,
            search: check.body.as_ref().map(|text| Search::new(text.as_bytes())),
            stage: Stage::Head,
            held: Vec::new(),
            head_left: HEAD_MAX,
            body_left: BODY_MAX,
        }
    }

    /// Reads on. After a verdict it is not called again.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) -> Verdict {
        loop {
            let verdict = match self.stage {
                Stage::Head => self.take_head(&mut bytes),
                Stage::Sized(left) => {
                    let piece = cut(&mut bytes, left);
                    self.stage = Stage::Sized(left - piece.len() as u64);
                    self.body(piece).or_else(|| (left == piece.len() as u64).then(|| self.end_of_body()))
                }
                Stage::UntilClose => self.body(cut(&mut bytes, u64::MAX)),
                Stage::ChunkLine => self.take_chunk_line(&mut bytes),
                Stage::Chunk(left) => {
                    let piece = cut(&mut bytes, left);
                    let left = left - piece.len() as u64;
                    self.stage = if left == 0 { Stage::ChunkEnd } else { Stage::Chunk(left) };
                    self.body(piece)
                }
                Stage::ChunkEnd => match self.line(&mut bytes) {
                    Err(failure) => Some(Err(failure)),
                    Ok(None) => None,
                    Ok(Some(line)) if line == b"\r\n" || line == b"\n" => {
                        self.stage = Stage::ChunkLine;
                        None
                    }
                    Ok(Some(_)) => Some(Err(Failure::Malformed)),
                },
            };
            if verdict.is_some() || bytes.is_empty() {
                return verdict;
            }
        }
    }

    /// The server has closed.
    pub(crate) fn end(&self) -> Result<(), Failure> {
        match self.stage {
            Stage::UntilClose => self.end_of_body(),
            _ => Err(Failure::Closed),
        }
    }

    fn end_of_body(&self) -> Result<(), Failure> {
        match &self.search {
            Some(search) if !search.is_found() => Err(Failure::Body),
            _ => Ok(()),
        }
    }

    fn body(&mut self, piece: &[u8]) -> Verdict {
        let piece = &piece[..piece.len().min(self.body_left)];
        self.body_left -= piece.len();
        if self.search.as_mut().is_none_or(|search| search.feed(piece)) {
            return Some(Ok(()));
        }
        (self.body_left == 0).then_some(Err(Failure::Body))
    }

    fn take_head(&mut self, bytes: &mut &[u8]) -> Verdict {
        // A byte at a time, so that each is looked at once however the server cuts its answer.
        while let Some((byte, rest)) = bytes.split_first() {
            *bytes = rest;
            if self.head_left == 0 {
                return Some(Err(Failure::TooLong));
            }
            self.head_left -= 1;
            self.held.push(*byte);
            let start = self.held.len().min(7);
            if self.held[..start] != b"HTTP/1."[..start] {
                return Some(Err(Failure::Malformed));
            }
            if *byte == b'\n' && (self.held.ends_with(b"\n\n") || self.held.ends_with(b"\n\r\n")) {
                let head = std::mem::take(&mut self.held);
                return self.read_head(&head);
            }
        }
        None
    }

    fn read_head(&mut self, head: &[u8]) -> Verdict {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(head) {
            Ok(httparse::Status::Complete(len)) if len == head.len() => (),
            Ok(_) => return Some(Err(Failure::Malformed)),
            Err(httparse::Error::TooManyHeaders) => return Some(Err(Failure::TooLong)),
            Err(_) => return Some(Err(Failure::Malformed)),
        }
        let Some(status) = response.code else { return Some(Err(Failure::Malformed)) };
        let StatusRange { first, last } = self.good;
        if (100..200).contains(&status) && status != 101 && !(first..=last).contains(&status) {
            return None; // The answer proper follows (RFC 9110 §15.2).
        }
        if !(first..=last).contains(&status) {
            return Some(Err(Failure::Status(status)));
        }
        let Some(search) = &self.search else { return Some(Ok(())) };
        if search.is_found() {
            return Some(Ok(()));
        }
        if status < 200 || status == 204 || status == 304 {
            return Some(Err(Failure::Body));
        }
        match length(response.headers) {
            Ok(Stage::Sized(0)) => Some(Err(Failure::Body)),
            Ok(stage) => {
                self.stage = stage;
                None
            }
            Err(failure) => Some(Err(failure)),
        }
    }

    fn take_chunk_line(&mut self, bytes: &mut &[u8]) -> Verdict {
        match self.line(bytes) {
            Err(failure) => Some(Err(failure)),
            Ok(None) => None,
            Ok(Some(line)) => match httparse::parse_chunk_size(&line) {
                Ok(httparse::Status::Complete((_, 0))) => Some(self.end_of_body()),
                Ok(httparse::Status::Complete((_, size))) => {
                    self.stage = Stage::Chunk(size);
                    None
                }
                _ => Some(Err(Failure::Malformed)),
            },
        }
    }

    /// The next line with its end, once it is whole.
    fn line(&mut self, bytes: &mut &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let piece = cut(bytes, end.unwrap_or(bytes.len()) as u64);
        if self.held.len() + piece.len() > CHUNK_LINE_MAX {
            return Err(Failure::TooLong);
        }
        self.held.extend(piece);
        Ok(end.map(|_| std::mem::take(&mut self.held)))
    }
}

/// Takes at most `max` bytes off the front.
fn cut<'a>(bytes: &mut &'a [u8], max: u64) -> &'a [u8] {
    let at = usize::try_from(max).unwrap_or(usize::MAX).min(bytes.len());
    let (piece, rest) = bytes.split_at(at);
    *bytes = rest;
    piece
}

/// How the body ends (RFC 9112 §6.3).
fn length(headers: &[httparse::Header<'_>]) -> Result<Stage, Failure> {
    let mut sized = None;
    let mut chunked = false;
    for header in headers {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            let last = header.value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
            chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        } else if header.name.eq_ignore_ascii_case("content-length") {
            let text = str::from_utf8(header.value).map_err(|_| Failure::Malformed)?;
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let value: u64 = text.parse().ok().filter(|_| digits).ok_or(Failure::Malformed)?;
            if sized.is_some_and(|before| before != value) {
                return Err(Failure::Malformed);
            }
            sized = Some(value);
        }
    }
    Ok(match (chunked, sized) {
        (true, _) => Stage::ChunkLine,
        (false, Some(len)) => Stage::Sized(len),
        (false, None) => Stage::UntilClose,
    })
}
