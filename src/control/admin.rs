//! The admin address: metrics and health over HTTP.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::monitor::{Health, Monitor};
use crate::limits;
use crate::metrics::exposition::{self, GatewayReading, ListenerStanding, WayReading};

/// How long a client may take to send its request's header, and for the whole exchange.
const HEADER_PATIENCE: Duration = Duration::from_secs(5);
const CONNECTION_PATIENCE: Duration = Duration::from_secs(30);

const TEXT: &str = "text/plain; charset=utf-8";
const INDEX: &str = "viaduct\n\n/metrics   counters for Prometheus\n/healthz   200 if all is well, 503 with the reasons if not\n/listeners each listener, its state and why\n/gateways  each gateway of a group, its state and its share\n";

/// Answers until the future is dropped.
pub async fn serve(listener: TcpListener, monitor: Arc<Monitor>) {
    let mut places = Places::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let asked = Arc::default();
                let exchange = exchange(stream, Arc::clone(&monitor), Arc::clone(&asked));
                // A client that goes away or dawdles is no news.
                let task =
                    tokio::spawn(async { drop(tokio::time::timeout(CONNECTION_PATIENCE, exchange).await) });
                places.give(Place { asked, task });
                // A burst of connections would else close one whose request is there before it is read.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                tracing::warn!("the admin address cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// The open connections, oldest first. A new one always has a place, so that whoever holds many keeps no probe waiting.
#[derive(Default)]
struct Places(VecDeque<Place>);

struct Place {
    /// A request has come.
    asked: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Places {
    fn give(&mut self, new: Place) {
        self.0.retain(|place| !place.task.is_finished());
        if self.0.len() >= limits::ADMIN_CONNECTIONS {
            let idle = self.0.iter().position(|place| !place.asked.load(Relaxed));
            if let Some(place) = self.0.remove(idle.unwrap_or(0)) {
                place.task.abort();
            }
        }
        self.0.push_back(new);
    }
}

/// One request and its answer; no connection is kept for a second one.
fn exchange<S>(
    stream: S,
    monitor: Arc<Monitor>,
    asked: Arc<AtomicBool>,
) -> impl Future<Output = hyper::Result<()>>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        asked.store(true, Relaxed);
        let response = answer(request.method(), request.uri().path(), &monitor);
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PATIENCE)
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service)
}

fn answer(method: &Method, path: &str, monitor: &Monitor) -> Response<Full<Bytes>> {
    let (status, media, body) = match path {
        "/metrics" | "/healthz" | "/listeners" | "/gateways" | "/"
            if method != Method::GET && method != Method::HEAD =>
        {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".into());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        "/metrics" => match exposition::render(monitor.readings()) {
            Ok(body) => (StatusCode::OK, exposition::CONTENT_TYPE, body),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        "/healthz" => match monitor.health() {
            Health::Well => (StatusCode::OK, TEXT, "ok\n".to_owned()),
            Health::Unwell(reasons) => (StatusCode::SERVICE_UNAVAILABLE, TEXT, reasons.join("\n") + "\n"),
        },
        "/listeners" => (StatusCode::OK, TEXT, listeners(monitor)),
        "/gateways" => (StatusCode::OK, TEXT, gateways(monitor)),
        "/" => (StatusCode::OK, TEXT, INDEX.to_owned()),
        _ => (
            StatusCode::NOT_FOUND,
            TEXT,
            "no such page; there are /metrics, /healthz, /listeners and /gateways\n".to_owned(),
        ),
    };
    text(status, media, body)
}

/// A line for each: name, socket, state, cause.
fn listeners(monitor: &Monitor) -> String {
    let facts = monitor.facts();
    let width = |of: fn(&ListenerStanding) -> usize| facts.standings.iter().map(of).max().unwrap_or(0);
    let (names, bounds) = (width(|l| l.name.len()), width(|l| l.bound.len()));
    let line = |l: &ListenerStanding| {
        let ListenerStanding { name, bound, state, cause } = l;
        format!("{name:<names$}  {bound:<bounds$}  {:<14}  {cause}\n", state.label())
    };
    facts.standings.iter().map(line).collect()
}

/// A line for each gateway and each listener that it is reached from: group, gateway, listener, state, share in
/// percent, and in one word why OPTIONS fail, if they do. `viaduct explain` reads it, too.
fn gateways(monitor: &Monitor) -> String {
    let facts = monitor.facts();
    let ways = || facts.gateways.iter().flat_map(|g| g.ways.iter().map(move |way| (g, way)));
    let width =
        |of: fn(&GatewayReading, &WayReading) -> usize| ways().map(|(g, way)| of(g, way)).max().unwrap_or(0);
    let groups = width(|g, _| g.group.len());
    let (uris, listeners) = (width(|g, _| g.uri.len()), width(|_, way| way.listener.len()));
    let line = |(g, way): (&GatewayReading, &WayReading)| {
        let WayReading { listener, life, share, fault } = way;
        let percent = u32::from(*share) * 100 / u32::from(u8::MAX);
        let (group, uri, state) = (&g.group, &g.uri, life.label());
        let why = fault.map_or(String::new(), |fault| format!("  {}", fault.word()));
        format!("{group:<groups$}  {uri:<uris$}  {listener:<listeners$}  {state:<9}  {percent}%{why}\n")
    };
    ways().map(line).collect()
}

fn text(status: StatusCode, media: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// Binds the admin address.
///
/// # Errors
/// The system's reason, with the address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| {
        format!(
            "cannot listen on the admin address {address}: {error}; [admin] listen names another, or \"off\""
        )
    })
}

/// Whether it can be bound, by a socket that nobody can connect to and that is closed at once.
///
/// # Errors
/// The system's reason.
pub fn try_alone(address: SocketAddr) -> io::Result<()> {
    let raw = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    raw.set_reuse_address(true)?;
    raw.bind(&address.into())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpStream, UnixStream};

    use super::*;
    use crate::control::monitor::ShardState;
    use crate::group::{Fault, Life};
    use crate::net::GatewayId;

    /// Sends a request as it stands and gives all that comes back.
    async fn ask(request: &str, monitor: Arc<Monitor>) -> String {
        let (client, server) = UnixStream::pair().unwrap();
        let exchange = exchange(server, monitor, Arc::default());
        let talk = async {
            client.writable().await.unwrap();
            client.try_write(request.as_bytes()).unwrap();
            let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
            loop {
                client.readable().await.unwrap();
                match client.try_read(&mut buffer) {
                    Ok(0) => break String::from_utf8(answer).unwrap(),
                    Ok(len) => answer.extend_from_slice(&buffer[..len]),
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
                }
            }
        };
        let (result, answer) = tokio::join!(tokio::time::timeout(CONNECTION_PATIENCE, exchange), talk);
        // Its error is the client's fault and nobody's news; that it ends is what counts.
        let _ = result.unwrap();
        answer
    }

    async fn get(path: &str, monitor: &Arc<Monitor>) -> String {
        ask(&format!("GET {path} HTTP/1.1\r\nHost: viaduct\r\n\r\n"), Arc::clone(monitor)).await
    }

    #[tokio::test]
    async fn metrics_are_told_in_a_form_that_prometheus_reads() {
        let monitor = Arc::new(Monitor::new(2));
        monitor.series("public");
        let answer = get("/metrics", &monitor).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
        assert!(answer.contains("\nviaduct_shards_up 2\n") && answer.ends_with("# EOF\n"), "{answer}");
    }

    #[tokio::test]
    async fn health_turns_with_the_shards() {
        let monitor = Arc::new(Monitor::new(2));
        assert!(get("/healthz", &monitor).await.ends_with("\r\n\r\nok\n"));
        monitor.facts().shards[0] = ShardState::Down("ring lost".into());
        let answer = get("/healthz", &monitor).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with("shard 0 is down: ring lost\n"), "{answer}");
    }

    #[tokio::test]
    async fn gateways_are_told_with_their_states() {
        let monitor = Arc::new(Monitor::new(1));
        let way =
            |listener: &str, life, share, fault| WayReading { listener: listener.into(), life, share, fault };
        let gateway = |uri: &str, ways| GatewayReading {
            id: GatewayId(0),
            group: "trunks".into(),
            uri: uri.into(),
            ways,
            pings: Default::default(),
            watched: Default::default(),
        };
        monitor.facts().gateways = vec![
            gateway(
                "sip:10.0.0.71",
                vec![way("a", Life::Returning, 51, None), way("bb", Life::Down, 0, Some(Fault::Connection))],
            ),
            gateway("sip:10.0.0.72:5070", vec![way("a", Life::Up, 255, None)]),
        ];
        let answer = get("/gateways", &monitor).await;
        let page = "trunks  sip:10.0.0.71       a   returning  20%\n\
                    trunks  sip:10.0.0.71       bb  down       0%  no_connection\n\
                    trunks  sip:10.0.0.72:5070  a   up         100%\n";
        assert!(answer.ends_with(page), "{answer}");
    }

    #[tokio::test]
    async fn other_pages_and_methods_are_refused() {
        let monitor = Arc::new(Monitor::new(1));
        assert!(get("/metrics/../etc", &monitor).await.starts_with("HTTP/1.1 404 "));
        let post = "POST /metrics HTTP/1.1\r\nHost: viaduct\r\nContent-Length: 0\r\n\r\n";
        let answer = ask(post, monitor).await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn what_is_no_http_is_answered_and_closed() {
        let answer = ask("INVITE sip:a@b SIP/2.0\r\n\r\n", Arc::new(Monitor::new(1))).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }

    /// Well within the time that a connection may stay without a request.
    const PROMPT: Duration = Duration::from_secs(2);

    async fn served() -> SocketAddr {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Arc::new(Monitor::new(1))));
        address
    }

    #[tokio::test]
    async fn a_probe_is_answered_while_others_hold_connections_without_a_request() {
        let address = served().await;
        let mut held = Vec::new();
        for begun in [&b""[..], b"GET /metrics HTTP/1.1\r\nHost: vi"] {
            for _ in 0..50 {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(begun).await.unwrap();
                held.push(stream);
            }
            let probe = async {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: viaduct\r\n\r\n").await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                answer
            };
            let answer = tokio::time::timeout(PROMPT, probe).await.expect("an answer");
            assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
        }
    }

    #[tokio::test]
    async fn requests_of_a_burst_are_read_before_their_connections_make_room() {
        let address = served().await;
        // All of them are in the backlog, with what they ask, before the first one is accepted.
        let clients: Vec<_> = (0..4 * limits::ADMIN_CONNECTIONS)
            .map(|_| {
                let mut stream = std::net::TcpStream::connect(address).unwrap();
                io::Write::write_all(&mut stream, b"GET /healthz HTTP/1.1\r\nHost: viaduct\r\n\r\n").unwrap();
                stream.set_nonblocking(true).unwrap();
                TcpStream::from_std(stream).unwrap()
            })
            .collect();
        for mut client in clients {
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
        }
    }

    #[tokio::test]
    async fn the_oldest_without_a_request_makes_room_and_else_the_oldest() {
        let mut places = Places::default();
        let mut give = |asked| {
            let task = tokio::spawn(std::future::pending());
            let watched = task.abort_handle();
            places.give(Place { asked: Arc::new(AtomicBool::new(asked)), task });
            watched
        };
        let given: Vec<_> = (0..limits::ADMIN_CONNECTIONS).map(|n| give(n != 3 && n != 5)).collect();
        let mut newer = Vec::new();
        for closed in [3, 5, 0, 1] {
            assert!(!given[closed].is_finished());
            newer.push(give(true));
            tokio::task::yield_now().await;
            let all: Vec<usize> = (0..given.len()).filter(|n| given[*n].is_finished()).collect();
            assert_eq!(all.len(), newer.len(), "{all:?}");
            assert!(given[closed].is_finished(), "{all:?}");
        }
        assert!(newer.iter().all(|place| !place.is_finished()));
    }

    #[tokio::test]
    async fn a_connection_without_a_whole_request_is_closed() {
        let address = served().await;
        for begun in [&b""[..], b"GET / HTTP/1.1\r\n"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(begun).await.unwrap();
            let mut answer = Vec::new();
            let closed = stream.read_to_end(&mut answer);
            tokio::time::timeout(HEADER_PATIENCE + PROMPT, closed).await.expect("an end").unwrap();
        }
    }
}
