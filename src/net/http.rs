//! HTTP/1.1 for browsers, Prometheus and probes: read-only, one request per connection.
//!
//! A few connections at a time, each with a deadline; a request's head is short. Reports are written into one
//! buffer that all share, piece by piece: a client that does not read its answer holds it for one step at
//! most, and only other reports wait for it.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use async_net::{TcpListener, TcpStream};
use smol::future::FutureExt as _;
use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};
use smol::{LocalExecutor, Timer};

use super::Net;
use super::core::Core;
use crate::bytes::TextBuf;
use crate::limits;
use crate::log_limit::About;
use crate::report::{self, Report, Sent};

/// Serves until the task is dropped.
pub async fn serve<C: Core>(
    net: Rc<Net<C>>,
    executor: Rc<LocalExecutor<'static>>,
    listener: TcpListener,
) {
    let open = Rc::new(Cell::new(0));
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                let text = format_args!("http_listen: cannot accept: {error}");
                net.complain(log::Level::Error, About::kind("http"), text);
                Timer::after(PAUSE).await;
                continue;
            }
        };
        // One too many is closed: browsers and Prometheus try again.
        if open.get() == limits::HTTP_CONNECTIONS_MAX {
            continue;
        }
        open.set(open.get() + 1);
        let (net, open) = (Rc::clone(&net), Rc::clone(&open));
        let exchange = async move {
            if let Err(error) = exchange(&net, stream).await {
                log::debug!("http from {remote}: {error}");
            }
            open.set(open.get() - 1);
        };
        executor.spawn(exchange).detach();
    }
}

/// One request and its answer. Answers that are short or constant need no buffer, so that a slow client does
/// not delay probes.
async fn exchange<C: Core>(net: &Net<C>, mut stream: TcpStream) -> io::Result<()> {
    let mut head = [0; limits::HTTP_HEAD_BYTES_MAX];
    let asked = in_time(read_head(&mut stream, &mut head)).await?;
    let asked = Asked::of(&head[..asked], net.setup.advertised_host.as_deref());
    let Asked { what, head_only, chunked } = match asked {
        Ok(asked) => asked,
        Err(Refusal { status, header }) => return whole(&mut stream, status, header, b"").await,
    };
    let (kind, report) = match what {
        What::Page => {
            let content = if head_only { &[] } else { PAGE };
            return whole(&mut stream, "200 OK", PAGE_HEADERS, content).await;
        }
        What::Health => {
            let health = net.core.borrow().health();
            let status = if health.is_ok() { "200 OK" } else { "503 Service Unavailable" };
            let content = if head_only { "" } else { health.err().unwrap_or("ok") };
            return whole(&mut stream, status, TEXT_HEADERS, content.as_bytes()).await;
        }
        What::Status => ("application/json", None),
        What::Report(Report::Metrics) => (METRICS_TYPE, Some(Report::Metrics)),
        What::Report(report) => ("application/json", Some(report)),
    };
    // Other clients may be slow with the buffer, so waiting for it has a deadline as well.
    let mut buf = in_time(async { Ok(net.shown.lock().await) }).await?;
    net.metrics_gather();
    let mut begins = TextBuf::new(&mut buf);
    let coding = if chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
    let _ =
        write!(begins, "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{coding}{COMMON_HEADERS}\r\n");
    let bytes = begins.len();
    in_time(stream.write_all(&buf[..bytes])).await?;
    if !head_only {
        body(net, &mut stream, report, chunked, &mut buf).await?;
    }
    in_time(stream.close()).await
}

/// Sends a whole answer with constant content.
async fn whole(
    stream: &mut TcpStream,
    status: &str,
    headers: &str,
    content: &[u8],
) -> io::Result<()> {
    let mut head = heapless::String::<512>::new();
    let bytes = content.len();
    let _ = write!(
        head,
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {bytes}\r\n{COMMON_HEADERS}\r\n"
    );
    in_time(stream.write_all(head.as_bytes())).await?;
    in_time(stream.write_all(content)).await?;
    in_time(stream.close()).await
}

async fn read_head(stream: &mut TcpStream, head: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < head.len() && !head[..len].windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut head[len..]).await? {
            0 => break,
            bytes => len += bytes,
        }
    }
    Ok(len)
}

/// Sends a report piece by piece; none: the status, which is a single piece.
async fn body<C: Core>(
    net: &Net<C>,
    stream: &mut TcpStream,
    report: Option<Report>,
    chunked: bool,
    buf: &mut [u8],
) -> io::Result<()> {
    let (mut sent, mut begun) = (Sent::default(), false);
    loop {
        let end = buf.len() - CHUNK_END.len();
        let part = &mut buf[CHUNK_HEAD_BYTES..end];
        let now = net.hub.now();
        let bytes = match report {
            Some(report) => net.core.borrow().report(now, report, &mut sent, part),
            None if begun => Some(0),
            None => net.core.borrow().status(now, true, part),
        };
        begun = true;
        // Without its last chunk the client sees that it is not whole.
        let bytes = bytes.ok_or(io::ErrorKind::Interrupted)?;
        let end = CHUNK_HEAD_BYTES + bytes;
        if chunked {
            let mut head = heapless::String::<CHUNK_HEAD_BYTES>::new();
            let _ = write!(head, "{bytes:04x}\r\n");
            buf[..CHUNK_HEAD_BYTES].copy_from_slice(head.as_bytes());
            buf[end..end + CHUNK_END.len()].copy_from_slice(CHUNK_END);
            in_time(stream.write_all(&buf[..end + CHUNK_END.len()])).await?;
        } else {
            in_time(stream.write_all(&buf[CHUNK_HEAD_BYTES..end])).await?;
        }
        if bytes == 0 {
            return Ok(());
        }
    }
}

/// Fails a step that takes longer than [`STEP_TIME_MAX`], which ends the connection.
async fn in_time<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = async {
        Timer::after(STEP_TIME_MAX).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    step.or(late).await
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Page,
    Health,
    Status,
    Report(Report),
}

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    what: What,
    /// `HEAD`.
    head_only: bool,
    /// The client understands chunks: HTTP/1.1.
    chunked: bool,
}

/// An answer without content: its status, and one more header.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    status: &'static str,
    header: &'static str,
}

impl Asked {
    /// What a request's head asks for. `advertised` is the host that clients are told, if that is a name.
    fn of(head: &[u8], advertised: Option<&str>) -> Result<Asked, Refusal> {
        let refused = |status| Err(Refusal { status, header: "" });
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(head) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) if head.len() < limits::HTTP_HEAD_BYTES_MAX => {
                return refused("400 Bad Request");
            }
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return refused("431 Request Header Fields Too Large");
            }
            Err(_) => return refused("400 Bad Request"),
        }
        let mut headers = request.headers.iter();
        // Else any web page could have its browser read here, under a name that it points at this
        // machine (DNS rebinding).
        if headers.any(|header| {
            header.name.eq_ignore_ascii_case("host") && !is_ours(header.value, advertised)
        }) {
            return refused("421 Misdirected Request");
        }
        let head_only = match request.method {
            Some("GET") => false,
            Some("HEAD") => true,
            _ => {
                let header = "Allow: GET, HEAD\r\n";
                return Err(Refusal { status: "405 Method Not Allowed", header });
            }
        };
        let path = request.path.unwrap_or_default();
        let what = match path.split('?').next().unwrap_or_default() {
            "/" => What::Page,
            "/health" | "/ready" => What::Health,
            "/metrics" => What::Report(Report::Metrics),
            "/v1/status" => What::Status,
            "/v1/topics" => What::Report(Report::Topics),
            "/v1/groups" => What::Report(Report::Groups),
            _ => return refused("404 Not Found"),
        };
        Ok(Asked { what, head_only, chunked: request.version == Some(1) })
    }
}

/// Whether a request to this host, maybe with a port, may be for us: any numeric address, `localhost`, the
/// name that clients are told, or one without a dot, which no foreign page has.
fn is_ours(host: &[u8], advertised: Option<&str>) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let numeric = SocketAddr::from_str(host).is_ok()
        || IpAddr::from_str(host.trim_matches(['[', ']'])).is_ok();
    let name = host.split(':').next().unwrap_or_default();
    numeric || !name.contains('.') || name.ends_with(".local") || advertised == Some(name)
}

/// The page. It loads its data from here, and nothing from elsewhere.
const PAGE: &[u8] = include_bytes!("page.html");
const PAGE_HEADERS: &str = "Content-Type: text/html; charset=utf-8\r\nContent-Security-Policy: default-src 'none'; script-src \
     'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'\r\n";
const TEXT_HEADERS: &str = "Content-Type: text/plain; charset=utf-8\r\n";
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const COMMON_HEADERS: &str =
    "Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
const _: () = assert!(PAGE.len() < 24 << 10, "it is small");

/// How long reading a request, or writing a piece, may take.
const STEP_TIME_MAX: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(1);
const HEADERS_MAX: usize = 32;
/// A chunk's length, as four hexadecimal digits.
const CHUNK_HEAD_BYTES: usize = 6;
const CHUNK_END: &[u8] = b"\r\n";
const _: () = assert!(limits::STATUS_BYTES_MAX <= 0xffff);
const _: () = assert!(limits::STATUS_BYTES_MAX >= 2 * report::PIECE_BYTES_MIN);

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(head: &str) -> Result<Asked, &'static str> {
        Asked::of(head.as_bytes(), Some("edge.example")).map_err(|refusal| refusal.status)
    }

    fn of_host(host: &str) -> Result<What, &'static str> {
        asked(&format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n")).map(|asked| asked.what)
    }

    #[test]
    fn what_is_asked_is_found_by_its_path() {
        let get =
            |path: &str| asked(&format!("GET {path} HTTP/1.1\r\n\r\n")).map(|asked| asked.what);
        assert_eq!(get("/metrics"), Ok(What::Report(Report::Metrics)));
        assert_eq!(get("/metrics?name=x"), Ok(What::Report(Report::Metrics)));
        assert_eq!((get("/health"), get("/ready")), (Ok(What::Health), Ok(What::Health)));
        assert_eq!(get("/"), Ok(What::Page));
        assert_eq!(get("/v1/status"), Ok(What::Status));
        assert_eq!(get("/v1/topics"), Ok(What::Report(Report::Topics)));
        assert_eq!(get("/v1/groups"), Ok(What::Report(Report::Groups)));
        for path in ["/metrics/", "/v1", "/../etc/passwd", "*"] {
            assert_eq!(get(path), Err("404 Not Found"), "{path}");
        }
    }

    #[test]
    fn requests_that_are_none_are_refused_with_what_is_wrong() {
        for wrong in ["", "GET", "GET / HTTP/1.1\r\n", "\0\0\0\x10 \r\n\r\n", "GET /\r\n\r\n"] {
            assert_eq!(asked(wrong), Err("400 Bad Request"), "{wrong:?}");
        }
        let long = "x".repeat(limits::HTTP_HEAD_BYTES_MAX);
        assert_eq!(asked(&format!("GET /{long}")), Err("431 Request Header Fields Too Large"));
        let many = "a: b\r\n".repeat(40);
        let many = format!("GET / HTTP/1.1\r\n{many}\r\n");
        assert_eq!(asked(&many), Err("431 Request Header Fields Too Large"));
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let request = format!("{method} /metrics HTTP/1.1\r\n\r\n");
            assert_eq!(asked(&request), Err("405 Method Not Allowed"), "{method}");
        }
    }

    #[test]
    fn heads_and_old_clients_are_known() {
        let asked = |request| asked(request).map(|asked| (asked.head_only, asked.chunked));
        assert_eq!(asked("HEAD /metrics HTTP/1.1\r\n\r\n"), Ok((true, true)));
        assert_eq!(asked("GET /metrics HTTP/1.0\r\n\r\n"), Ok((false, false)));
    }

    #[test]
    fn a_name_that_a_foreign_page_may_point_here_is_refused() {
        let ours =
            ["127.0.0.1:8092", "[::1]:8092", "[fe80::1]", "10.0.0.7", "localhost:8092", "pi"];
        for host in ours.iter().chain(&["pi:8092", "pi.local:8092", "edge.example:80"]) {
            assert_eq!(of_host(host), Ok(What::Health), "{host}");
        }
        for host in ["evil.example", "evil.example:8092", "10.0.0.7.evil.example", "a.b", ""] {
            let expected =
                if host.is_empty() { Ok(What::Health) } else { Err("421 Misdirected Request") };
            assert_eq!(of_host(host), expected, "{host}");
        }
    }
}
