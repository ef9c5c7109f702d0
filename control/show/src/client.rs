//! Asks, as `flowctl` does.

use crate::{Answer, Request, SOCKET};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// How long an answer may take: a reload of a large plan, a long list of flows.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// Nobody listens.
    #[error(
        "flowswitchd is not running: nobody listens at {path}; start it with `flowswitchd run --config FILE`, or name its directory with --runtime-dir"
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The socket is not ours to open.
    #[error("{path} is not yours to open; use sudo, or an account in the socket's group (`ls -l {path}`)")]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// The connection broke.
    #[error("{path}: {source}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
    /// The answer is none of ours.
    #[error("{path} gave an answer of another version; do flowctl and flowswitchd belong together?")]
    Malformed {
        /// The socket.
        path: PathBuf,
    },
}

/// Sends one request to the daemon of a runtime directory and waits for its answer.
///
/// # Errors
///
/// [`AskError`], whose text says what to do.
pub fn ask(runtime_dir: &Path, request: &Request) -> Result<Answer, AskError> {
    let path = runtime_dir.join(SOCKET);
    let stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(error) => {
            return Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NotRunning { path },
                io::ErrorKind::PermissionDenied => AskError::Denied { path },
                _ => AskError::Broken { path, source: error },
            });
        }
    };
    let line =
        exchange(&stream, request).map_err(|source| AskError::Broken { path: path.clone(), source })?;
    serde_json::from_str(&line).map_err(|_| AskError::Malformed { path })
}

fn exchange(stream: &UnixStream, request: &Request) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    let mut writer = stream;
    writer.write_all(&line)?;
    let mut answer = String::new();
    if BufReader::new(stream).read_line(&mut answer)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "flowswitchd closed the connection"));
    }
    Ok(answer)
}
