//! HTTP over the sandbox's two listeners: loopback TCP for commands, a unix socket for tasks' relays.
//!
//! It turns connections into whole requests for one service, and keeps count of them. It looks into none.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request; an error is an answer too.
    fn handle(&self, request: Request<Bytes>) -> impl Future<Output = Response<Bytes>> + Send;

    /// The largest body that is worth reading after this head, bytes.
    fn largest_body(&self, head: &Parts) -> usize;

    /// Whether something runs in it (a task, an instance), so that it must not end by itself.
    fn busy(&self) -> bool;

    /// What whoever starts it should be told.
    fn note(&self) -> Option<String> {
        None
    }
}

/// Where requests come in.
#[derive(Debug)]
pub enum Listener {
    /// From this machine's loopback.
    Tcp(TcpListener),
    /// From tasks, through their relays.
    Unix(UnixListener),
}

impl Listener {
    /// A TCP listener, if it is on loopback: the sandbox listens nowhere else.
    ///
    /// # Errors
    /// When it is on any other address.
    pub fn loopback(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        if address.ip().is_loopback() {
            return Ok(Self::Tcp(listener));
        }
        Err(io::Error::new(io::ErrorKind::AddrNotAvailable, format!("{address} is not a loopback address")))
    }
}

/// When there was last a request, and how many are being answered.
#[derive(Debug)]
pub struct Traffic(Mutex<(Instant, usize)>);

impl Default for Traffic {
    fn default() -> Self {
        Self(Mutex::new((Instant::now(), 0)))
    }
}

impl Traffic {
    /// How long there has been none; zero while one is being answered.
    pub fn quiet_for(&self) -> Duration {
        let (last, open) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open > 0 { Duration::ZERO } else { last.elapsed() }
    }

    fn begin(self: &Arc<Self>) -> Passing {
        self.change(1);
        Passing(Arc::clone(self))
    }

    fn change(&self, by: isize) {
        let mut traffic = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *traffic = (Instant::now(), traffic.1.saturating_add_signed(by));
    }
}

// Counts down whatever becomes of its request: the caller may hang up while it is answered.
struct Passing(Arc<Traffic>);

impl Drop for Passing {
    fn drop(&mut self) {
        self.0.change(-1);
    }
}

/// Serves until `stop` turns true; then finishes the requests that are being answered, for at most `patience`.
pub async fn listen<S: Service>(
    service: Arc<S>,
    listener: Listener,
    traffic: Arc<Traffic>,
    mut stop: watch::Receiver<bool>,
    patience: Duration,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = told(&mut stop) => break,
            accepted = accept(&listener) => match accepted {
                Ok(Accepted::Tcp(stream)) => {
                    // Small answers to small requests: never wait for more to send.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY");
                    }
                    connections.spawn(serve(Arc::clone(&service), stream, Arc::clone(&traffic), stop.clone()));
                }
                Ok(Accepted::Unix(stream)) => {
                    connections.spawn(serve(Arc::clone(&service), stream, Arc::clone(&traffic), stop.clone()));
                }
                // Out of file descriptors, or a caller that gave up: neither is an end.
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(patience, finished).await.is_err() {
        tracing::warn!("requests were cut off");
    }
}

enum Accepted {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

async fn accept(listener: &Listener) -> io::Result<Accepted> {
    match listener {
        Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| Accepted::Tcp(stream)),
        Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
    }
}

async fn serve<S, T>(service: Arc<S>, stream: T, traffic: Arc<Traffic>, mut stop: watch::Receiver<bool>)
where
    S: Service,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = service_fn(move |request: Request<Incoming>| {
        let (service, passing) = (Arc::clone(&service), traffic.begin());
        async move {
            let answer = answer(&*service, request).await;
            drop(passing);
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => Some(served),
        () = told(&mut stop) => None,
    };
    let served = match served {
        Some(served) => served,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended early");
    }
}

// Until the word to stop comes; a sender that is gone is one as well.
async fn told(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

async fn answer<S: Service>(service: &S, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    match Limited::new(body, service.largest_body(&parts)).collect().await {
        Ok(body) => service.handle(Request::from_parts(parts, body.to_bytes())).await.map(Full::new),
        Err(error) => {
            let mut answer = Response::new(Full::new(Bytes::from(format!("the body cannot be read: {error}"))));
            *answer.status_mut() = StatusCode::BAD_REQUEST;
            answer
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    struct Echo;

    impl Service for Echo {
        fn largest_body(&self, _head: &http::request::Parts) -> usize {
            1024 * 1024
        }

        async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
            let host = request.headers().get("host").map(|host| host.as_bytes().to_vec()).unwrap_or_default();
            Response::new([&host[..], b" ", request.body()].concat().into())
        }

        fn busy(&self) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn a_request_through_the_socket_keeps_its_host() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = Listener::Unix(UnixListener::bind(&path).unwrap());
        let (stop, stopped) = watch::channel(false);
        let traffic = Arc::new(Traffic::default());
        let serving = tokio::spawn(listen(Arc::new(Echo), listener, traffic.clone(), stopped, Duration::from_secs(5)));
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let asked = "PUT /b/k HTTP/1.1\r\nhost: 127.0.0.1:4566\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n";
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut buffer = [0; 1024];
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(buffer[..read].starts_with(b"HTTP/1.1 100 Continue"));
        assert_eq!(traffic.quiet_for(), Duration::ZERO, "it is being answered");
        stream.write_all(b"ACGT").await.unwrap();
        let read = stream.read(&mut buffer).await.unwrap();
        let answer = String::from_utf8_lossy(&buffer[..read]).into_owned();
        assert!(answer.ends_with("127.0.0.1:4566 ACGT"), "{answer}");
        stop.send(true).unwrap();
        serving.await.unwrap();
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 0, "a kept connection is closed");
    }
}
