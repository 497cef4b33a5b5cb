//! HTTP/1.1 on loopback and unix sockets. Nothing here is reachable from another machine.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

use super::Sandbox;

/// S3's largest single upload, bytes.
const LARGEST_BODY: usize = 5 * 1024 * 1024 * 1024;
/// The largest body of somebody who has no key here, bytes.
const STRANGERS_BODY: usize = 64 * 1024;

/// Serves the sandbox on a loopback address until it is dropped.
///
/// # Errors
/// Where the address is not loopback, or nothing can be accepted any more.
pub async fn listen(sandbox: Arc<Sandbox>, listener: TcpListener) -> io::Result<Infallible> {
    let handler = plain_handler(&sandbox);
    listen_with(sandbox, listener, handler).await
}

/// The same with a handler in front of the sandbox's own, for a process's internal endpoints.
///
/// # Errors
/// As [`listen`].
pub async fn listen_with<H, F>(sandbox: Arc<Sandbox>, listener: TcpListener, handler: H) -> io::Result<Infallible>
where
    H: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Bytes>> + Send + 'static,
{
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        return Err(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            format!("{address} is not a loopback address; the sandbox listens on no other"),
        ));
    }
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Small answers must not wait for acknowledgements.
                    let _delayed = stream.set_nodelay(true);
                    connections.spawn(serve_stream(sandbox.clone(), stream, handler.clone()));
                }
                Err(error) => passing(error).await?,
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// Serves the sandbox on a unix socket until it is dropped; who may connect is the socket file's affair.
///
/// # Errors
/// Where nothing can be accepted any more.
pub async fn listen_unix(sandbox: Arc<Sandbox>, listener: UnixListener) -> io::Result<Infallible> {
    let handler = plain_handler(&sandbox);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_stream(sandbox.clone(), stream, handler.clone()));
                }
                Err(error) => passing(error).await?,
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// Serves one connection until it ends.
pub async fn serve_stream<S, H, F>(sandbox: Arc<Sandbox>, stream: S, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Bytes>> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (sandbox, handler) = (sandbox.clone(), handler.clone());
        async move { Ok::<_, Infallible>(one(&sandbox, request, handler).await.map(Full::new)) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(60))
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("a connection to the sandbox ended: {error}");
    }
}

async fn one<H, F>(sandbox: &Arc<Sandbox>, request: Request<Incoming>, handler: H) -> Response<Bytes>
where
    H: Fn(Request<Bytes>) -> F,
    F: Future<Output = Response<Bytes>>,
{
    let (parts, body) = request.into_parts();
    let limit = if sandbox.may_upload(&parts) { LARGEST_BODY } else { STRANGERS_BODY };
    match Limited::new(body, limit).collect().await {
        Ok(body) => handler(Request::from_parts(parts, body.to_bytes())).await,
        Err(error) => {
            let mut response = Response::new(Bytes::from(format!("the body cannot be read: {error}")));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
    }
}

type Answering = std::pin::Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;

fn plain_handler(sandbox: &Arc<Sandbox>) -> impl Fn(Request<Bytes>) -> Answering + Clone + Send + Sync + use<> {
    let sandbox = sandbox.clone();
    move |request| {
        let sandbox = sandbox.clone();
        Box::pin(async move { sandbox.handle(request).await })
    }
}

/// Running out of descriptors passes; a listener that is gone does not.
async fn passing(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        // ENFILE, EMFILE
        Some(23 | 24) => tokio::time::sleep(Duration::from_millis(100)).await,
        _ if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
        _ => return Err(error),
    }
    Ok(())
}
