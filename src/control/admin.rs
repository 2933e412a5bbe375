//! The admin address: metrics and health over HTTP.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
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
use tokio::sync::Semaphore;

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
    let places = Arc::new(Semaphore::new(limits::ADMIN_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let exchange = exchange(stream, Arc::clone(&monitor));
                tokio::spawn(async move {
                    // A client that goes away or dawdles is no news.
                    let _ = tokio::time::timeout(CONNECTION_PATIENCE, exchange).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("the admin address cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn exchange<S>(stream: S, monitor: Arc<Monitor>) -> impl Future<Output = hyper::Result<()>>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
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
    use tokio::net::UnixStream;

    use super::*;
    use crate::control::monitor::ShardState;
    use crate::group::{Fault, Life};
    use crate::net::GatewayId;

    /// Sends a request as it stands and gives all that comes back.
    async fn ask(request: &str, monitor: Arc<Monitor>) -> String {
        let (client, server) = UnixStream::pair().unwrap();
        let exchange = exchange(server, monitor);
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
}
