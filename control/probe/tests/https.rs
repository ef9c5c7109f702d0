//! FS-30: HTTPS against a rustls server with a certificate of its own making.

mod world;

use control_probe::{Failure, Http, Kind, StatusRange};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion, version};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use world::{SETTINGS, World};

fn https(host: Option<&str>, body: Option<&str>) -> Kind {
    Kind::Http(Http {
        port: 443,
        tls: true,
        path: "/health".into(),
        host: host.map(String::from),
        status: StatusRange { first: 200, last: 200 },
        body: body.map(String::from),
    })
}

fn config(versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
    // For another name than is ever asked for, and long expired: the probe does not mind.
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["elsewhere.example".into()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let certificate = params.self_signed(&key).expect("signed");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .expect("key and certificate");
    Arc::new(config)
}

/// A web server over TLS; notes the name it is asked for.
fn web(
    config: Arc<ServerConfig>,
    answer: Vec<u8>,
    name: Arc<Mutex<Option<String>>>,
) -> impl FnMut(&[u8], &mut Vec<u8>) -> bool {
    let mut tls = ServerConnection::new(config.clone()).expect("a server");
    let mut seen = 0;
    let mut request = Vec::new();
    let mut answered = false;
    move |received, send| {
        if received.len() < seen {
            (tls, seen, answered) = (ServerConnection::new(config.clone()).expect("a server"), 0, false);
            request.clear();
        }
        let mut new = &received[seen..];
        seen = received.len();
        while !new.is_empty() {
            tls.read_tls(&mut new).expect("read");
            tls.process_new_packets().expect("a good client");
        }
        *name.lock().expect("one thread") = tls.server_name().map(String::from);
        let mut buffer = [0; 2048];
        while let Ok(len @ 1..) = tls.reader().read(&mut buffer) {
            request.extend(&buffer[..len]);
        }
        if !answered && request.ends_with(b"\r\n\r\n") {
            answered = true;
            tls.writer().write_all(&answer).expect("room");
            tls.send_close_notify();
        }
        while tls.wants_write() {
            tls.write_tls(send).expect("written");
        }
        answered
    }
}

#[test]
fn fs30_https_any_certificate_any_version() {
    for version in [&version::TLS12, &version::TLS13] {
        let config = config(&[version]);
        for setting in SETTINGS {
            let name = Arc::new(Mutex::new(None));
            let mut world = World::new(setting);
            let answer = b"HTTP/1.1 200 OK\r\n\r\nall is ok".to_vec();
            world.server.listen(443, web(config.clone(), answer, name.clone()));
            assert_eq!(
                world.result(&https(Some("www.example:443"), Some("is ok")), 200),
                Ok(()),
                "{setting:?}"
            );
            assert_eq!(name.lock().expect("one thread").as_deref(), Some("www.example"));
            assert_eq!(world.result(&https(None, Some("is not ok")), 200), Err(Failure::Body));
            assert_eq!(*name.lock().expect("one thread"), None, "an address is no server name");
            assert_eq!(world.result(&https(Some("www.example"), None), 200), Ok(()));
        }
    }
}

#[test]
fn fs30_https_long_answers() {
    let config = config(&[&version::TLS13]);
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 60002\r\n\r\n".to_vec();
    answer.resize(answer.len() + 60_000, b'.');
    answer.extend(b"ok");
    let mut world = World::new(SETTINGS[0]);
    world.server.listen(443, web(config, answer, Arc::default()));
    assert_eq!(world.result(&https(None, Some("ok")), 1000), Ok(()));
}

#[test]
fn fs30_https_no_tls_there() {
    let cases: [(&[u8], Failure); 6] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Failure::Tls),
        (b"\x15\x03\x03\x00\x02\x02\x28", Failure::TlsAlert(40)),
        (b"\x16\x03\x03\xff\xff", Failure::Tls),
        (b"\x16\x03\x03\x00\x04\x02\x00\x00", Failure::Stalled),
        (b"\x16\x03\x03\x00\x04\x02\xff\xff\xff", Failure::Tls),
        (b"", Failure::Stalled),
    ];
    for (answer, wanted) in cases {
        let mut world = World::new(SETTINGS[0]);
        let mut said = false;
        world.server.listen(443, move |received: &[u8], send: &mut Vec<u8>| {
            if !received.is_empty() && !said {
                said = true;
                send.extend(answer);
            }
            false
        });
        assert_eq!(world.result(&https(None, None), 100), Err(wanted), "{answer:x?}");
    }
    let mut world = World::new(SETTINGS[0]);
    world.server.listen(443, |received: &[u8], _: &mut Vec<u8>| !received.is_empty());
    assert_eq!(world.result(&https(None, None), 100), Err(Failure::Closed));
}
