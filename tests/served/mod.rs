//! A sandbox of the tests' own process, on loopback, for the tool's binary: with an engine whose tasks go as a script says.

#![allow(dead_code, clippy::unwrap_used, reason = "each test binary uses a part, and cannot go on without it")]

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use seqstack::sandbox::engine::Launch;
use seqstack::sandbox::engine::fake::{Fake, Outcome};
use seqstack::sandbox::listen::{Listener, Service, listen};
use seqstack::sandbox::service::Options;
use seqstack::sandbox::{Key, Sandbox, Setup};
use tokio::net::TcpListener;
use tokio::sync::watch;

struct Served(Arc<Sandbox>);

impl Service for Served {
    async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.0.handle(request).await
    }

    fn largest_body(&self, _head: &Parts) -> usize {
        1 << 20
    }

    fn busy(&self) -> bool {
        false
    }
}

/// A sandbox that is served until what comes with it is dropped.
pub async fn served(
    script: impl Fn(&Launch) -> Outcome + Send + Sync + 'static,
) -> (Arc<Sandbox>, watch::Sender<bool>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sandbox = Sandbox::new(Setup {
        options: Options::default(),
        engine: Arc::new(Fake::new(script)),
        keys: vec![Key { id: "AKIAIOSFODNN7EXAMPLE".into(), secret: "secret".into() }],
        endpoint: format!("http://{}", socket.local_addr().unwrap()),
        folder: None,
        clock_start: jiff::Timestamp::now(),
    });
    let (stop, stopped) = watch::channel(false);
    let (listener, serving) = (Listener::loopback(socket).unwrap(), Arc::new(Served(sandbox.clone())));
    tokio::spawn(listen(serving, listener, Arc::default(), stopped, Duration::ZERO));
    (sandbox, stop)
}

/// The binary, with no way to AWS: no credentials, no region, no metadata service, and an endpoint that nobody serves.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seqstack"));
    command.args(args).stdin(Stdio::null()).current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        .env("HOME", "/nonexistent");
    command
}

/// The binary, with its way to a sandbox.
pub fn command_to(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = command(args);
    command.env("AWS_ENDPOINT_URL", sandbox.endpoint());
    command.env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    command
}
