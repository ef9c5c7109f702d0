//! nginx on a server: each says who it is.

use crate::netns::Namespace;
use crate::process::Process;
use crate::stats::Random;
use crate::wait;
use anyhow::{Context, Result};
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Bytes of `/big`.
pub const BIG: usize = 200 << 20;
/// Bytes of `/slow`, at [`SLOW_RATE`] a second.
pub const SLOW: usize = 96 << 10;
/// Bytes a second of `/slow`.
pub const SLOW_RATE: usize = 16 << 10;
/// Bytes a second of `/steady`, which is `/big` at 20 Mbit/s.
pub const STEADY_RATE: usize = 2_500_000;

/// Makes the files that the servers offer: no byte of them can be exchanged for another unnoticed.
///
/// # Errors
///
/// When the disk is full.
pub fn make_files(folder: &Path, big: bool) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut random = Random::new(1);
    let mut fill = |name: &str, length: usize| -> Result<()> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(folder.join(name))?);
        for _ in 0..length / 8 {
            file.write_all(&random.number().to_le_bytes())?;
        }
        Ok(file.flush()?)
    };
    fill("page", 16 << 10)?;
    fill("slow", SLOW)?;
    if big {
        fill("big", BIG)?;
    }
    Ok(())
}

/// Starts nginx in `ns` under the name `name`.
///
/// # Errors
///
/// When it is not installed.
pub fn start(ns: &Namespace, folder: &Path, name: &str, files: &Path) -> Result<Process> {
    let own = folder.join(format!("nginx-{name}"));
    std::fs::create_dir_all(&own)?;
    let o = own.display();
    let text = format!(
        "daemon off;\nmaster_process off;\npid {o}/pid;\nerror_log {o}/error.log notice;\n\
         events {{ worker_connections 30000; multi_accept on; }}\n\
         http {{\n\
           access_log off;\nkeepalive_timeout 600s;\nkeepalive_requests 1000000;\nsendfile on;\n\
           client_body_temp_path {o}/b;\nproxy_temp_path {o}/p;\nfastcgi_temp_path {o}/f;\n\
           uwsgi_temp_path {o}/u;\nscgi_temp_path {o}/s;\n\
           server {{\n\
             listen 80 backlog=8192;\nlisten [::]:80 backlog=8192;\nroot {};\n\
             add_header X-Server {name} always;\n\
             location = /page {{ }}\n\
             location = /big {{ }}\n\
             location = /steady {{ alias {}/big; limit_rate {STEADY_RATE}; }}\n\
             location = /slow {{ limit_rate {SLOW_RATE}; }}\n\
             location / {{ return 200 \"{name}\\n\"; }}\n\
           }}\n\
         }}\n",
        files.display(),
        files.display()
    );
    let config = own.join("nginx.conf");
    std::fs::write(&config, text)?;
    let log = std::fs::File::create(own.join("stderr"))?;
    Process::start(
        ns.command("nginx").arg("-p").arg(&own).arg("-c").arg(&config).stdout(Stdio::null()).stderr(log),
    )
}

/// Waits until port 80 of `ns` is open.
///
/// # Errors
///
/// When it is not within 10 s.
pub fn wait_open(ns: &Namespace) -> Result<()> {
    ns.enter(|| {
        wait::until("port 80 of a server", Duration::from_secs(10), || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, 80)).ok()
        })
    })
    .map(drop)
    .with_context(|| format!("nginx in {}", ns.name()))
}
