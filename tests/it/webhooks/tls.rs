//! A receiver behind TLS, with a certificate for `localhost` by an authority that only this test knows (`tls/`: made for it,
//! and of no use to anybody else).

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    sync::mpsc,
};

use tokio_rustls::rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

use super::*;

fn server_config() -> Arc<ServerConfig> {
    let certificate = CertificateDer::from(&include_bytes!("tls/certificate.der")[..]);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(&include_bytes!("tls/key.der")[..]));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    Arc::new(config.with_single_cert(vec![certificate], key).unwrap())
}

/// Takes every request, and tells of its first line, or of what went wrong.
fn receiver() -> (u16, mpsc::Receiver<std::io::Result<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(server_config()).unwrap();
            let stream = StreamOwned::new(connection, stream.unwrap());
            if tell.send(serve(BufReader::new(stream))).is_err() {
                return;
            }
        }
    });
    (port, told)
}

fn serve<T: Read + Write>(mut stream: BufReader<T>) -> std::io::Result<String> {
    let mut first = String::new();
    stream.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length])?;
    stream
        .get_mut()
        .write_all(b"HTTP/1.1 204 X\r\nconnection: close\r\n\r\n")?;
    stream.get_mut().flush()?;
    Ok(first)
}

#[test]
fn receivers_are_known_by_their_certificates() {
    let authority = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/webhooks/tls/ca.pem");
    let data = tempfile::tempdir().unwrap();
    for (number, is_known) in [(0, true), (1, false)] {
        let (port, told) = receiver();
        let mut command = Command::new(artifacts::binary());
        command
            .env("ANNALS_WEBHOOK_HOSTS", format!("localhost:{port}"))
            .env("ANNALS_WEBHOOK_PRIVATE", "1");
        if is_known {
            command.env("SSL_CERT_FILE", &authority);
        }
        let server = Process::spawn(command, &data.path().join(number.to_string()));
        server.upload(&guests::counter()).ok();
        let webhook = json!({ "url": format!("https://localhost:{port}/x") });
        put(
            &server,
            "billing",
            &json!({ "webhook": webhook, "retry": retry(1) }),
        );
        add(server.address(), turns(1, 1));
        let first = told.recv().unwrap();
        if is_known {
            wait_for_all(&server, "billing");
            let consumer = shown(&server, "billing");
            assert_eq!(consumer["webhook"]["last_error"], Value::Null);
            assert_eq!(first.unwrap(), "POST /x HTTP/1.1\r\n");
            assert_eq!(consumer["parked"]["events"], 0);
        } else {
            let error = wait_for_failure(&server, "billing");
            assert!(error.contains("certificate"), "{error}");
            assert!(first.is_err(), "nothing was sent: {first:?}");
        }
        server.terminate();
    }
}
