//! What a browser, Prometheus and probes get over HTTP, and what keeps them from Kafka's clients.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use kafka_protocol::messages::{MetadataRequest, TopicName, metadata_request};
use kafka_protocol::protocol::StrBytes;

use crate::online::peer::{ask, commit, delete_records, produce};
use crate::process::Process;

/// A broker that serves HTTP, and where.
fn start(name: &str, more: &[&str]) -> (Process, SocketAddr) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let listen = format!("http_listen={address}");
    let mut settings = vec!["ring.segments=3", "ring.segment_bytes=4MiB", &listen];
    settings.extend(more);
    let broker = Process::start_with(name, &settings);
    // It answers on its socket when it does so over HTTP.
    broker.status();
    (broker, address)
}

/// The answer to these bytes, up to the end of the connection.
fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    // Where more was sent than is read, or the end came first, the end is a reset.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// The status and the body.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = raw(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"));
    let (head, mut rest) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    if !head.contains("chunked") {
        return (status, rest.to_string());
    }
    let mut body = String::new();
    loop {
        let (bytes, behind) = rest.split_once("\r\n").unwrap();
        let bytes = usize::from_str_radix(bytes, 16).unwrap();
        body += &behind[..bytes];
        rest = behind[bytes..].strip_prefix("\r\n").unwrap();
        if bytes == 0 {
            assert_eq!(rest, "");
            return (status, body);
        }
    }
}

#[test]
fn everything_that_is_served_is_whole() {
    let (broker, address) = start("http", &[]);
    assert_eq!(get(address, "/health"), (200, "ok".to_string()));
    assert_eq!(get(address, "/ready"), (200, "ok".to_string()));
    let (status, body) = get(address, "/v1/status");
    let shown: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &shown["starts_total"]), (200, &1.into()));
    assert_eq!(
        shown["rings"]["main"]["data_bytes"],
        broker.status()["rings"]["main"]["data_bytes"]
    );
    let (status, body) = get(address, "/metrics");
    assert_eq!(status, 200);
    assert!(body.contains("\nbrooklet_ring_data_bytes{ring=\"main\"} 12582912\n"), "{body}");
    for path in ["/v1/topics", "/v1/groups"] {
        let (status, body) = get(address, path);
        let list: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, list), (200, serde_json::json!([])), "{path}");
    }
    let (status, page) = get(address, "/");
    assert!(status == 200 && page.ends_with("</html>\n"), "{page}");
    assert!(
        !page.contains("innerHTML") && !page.contains("://"),
        "names are text, and nothing is from elsewhere"
    );
    assert_eq!(get(address, "/other").0, 404);
    let head = raw(address, &format!("HEAD /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n"));
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    let old = raw(address, "GET /health HTTP/1.0\r\n\r\n");
    assert!(old.ends_with("\r\n\r\nok"), "{old}");
    let foreign = raw(address, "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert!(foreign.starts_with("HTTP/1.1 421 "), "{foreign}");
}

#[test]
fn what_a_group_has_not_had_is_shown_with_what_it_missed() {
    let (broker, address) = start("http-lag", &["ring.watch_for=group:g"]);
    let mut stream = TcpStream::connect(broker.bootstrap()).unwrap();
    let topic = Some(TopicName(StrBytes::from_static_str("t")));
    let topic = metadata_request::MetadataRequestTopic::default().with_name(topic);
    ask(&mut stream, 8, MetadataRequest::default().with_topics(Some(vec![topic])));
    produce(&mut stream, "t", 0, 10);
    commit(&mut stream, "g", "t", &[(0, 4)]);
    let shown = |line: &str| {
        let (_, metrics) = get(address, "/metrics");
        assert!(metrics.lines().any(|have| have == line), "no {line} in {metrics}");
    };
    let groups =
        || -> serde_json::Value { serde_json::from_str(&get(address, "/v1/groups").1).unwrap() };
    shown("brooklet_topic_ring{ring=\"main\",topic=\"t\"} 1");
    shown("brooklet_ring_oldest_segment_timestamp_seconds{ring=\"main\"} 1700000001");
    shown("brooklet_watch_lag_percent{ring=\"main\",holder=\"group:g\"} 60");
    let partition = &groups()[0]["partitions"][0];
    assert_eq!((&partition["lag"], &partition["missed"]), (&6.into(), &0.into()));
    delete_records(&mut stream, "t", 6);
    shown("brooklet_watch_lag_percent{ring=\"main\",holder=\"group:g\"} 100");
    let partition = &groups()[0]["partitions"][0];
    assert_eq!((&partition["lag"], &partition["missed"]), (&4.into(), &2.into()));
    assert_eq!(broker.status()["connections"]["places"], 512);
}

#[test]
fn wrong_long_and_silent_clients_end_and_the_broker_goes_on() {
    let (broker, address) = start("http-wrong", &[]);
    for wrong in ["\r\n\r\n", "GET\r\n\r\n", "POST /metrics HTTP/1.1\r\n\r\n"] {
        let answer = raw(address, wrong);
        assert!(answer.starts_with("HTTP/1.1 4"), "{wrong:?}: {answer}");
    }
    let answer = raw(address, &format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(1 << 20)));
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    // As many as there are places for, and some more, of which nobody says anything.
    let silent: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    assert_eq!(broker.status()["starts_total"], 1);
    assert!(TcpStream::connect(broker.bootstrap()).is_ok());
    // Each ends by itself, and then there is room again.
    for mut stream in silent {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    assert_eq!(get(address, "/health").0, 200);
}

#[test]
fn a_port_that_is_taken_does_not_keep_the_broker_from_serving() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("http_listen={}", taken.local_addr().unwrap());
    let settings = ["ring.segments=3", "ring.segment_bytes=4MiB", &listen];
    let broker = Process::start_with("http-taken", &settings);
    assert_eq!(broker.status()["starts_total"], 1);
}
