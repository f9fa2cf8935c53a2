//! `connect`: connections that are opened, asked one thing and closed, with full or with resumed handshakes.

use std::time::Instant;

use anyhow::Result;
use http::Method;

use crate::{
    client::{Call, Client, Error, connection::Connection, download::discard},
    measure::Recorder,
    scenario::{Scenario, Stage, Task, Turn},
};

/// Whether sessions are resumed is up to `--resume`, which makes the target's configuration.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Connect {
    /// Go on with earlier TLS sessions
    #[arg(long)]
    pub(crate) resume: bool,
}

impl Scenario for Connect {
    async fn prepare(&self, stage: &Stage) -> Result<()> {
        // One session for all to resume.
        Ok(stage.client().warm_up().await?)
    }

    async fn run(&self, stage: &Stage, recorder: &Recorder) -> Result<()> {
        stage.play(recorder, Connections { stage: stage.clone() }).await;
        Ok(())
    }
}

struct Connections {
    stage: Stage,
}

impl Task for Connections {
    async fn turn(&self, client: &mut Client, recorder: &Recorder, turn: Turn) {
        let target = &self.stage.target;
        let opened = Connection::open(&target.origin, target.protocol, &target.trust).await;
        let operation = match &opened {
            Ok(connection) if connection.resumed => "connection (resumed)",
            _ => "connection",
        };
        recorder.took(operation, turn.due.elapsed(), 0, opened.as_ref().err());
        let Ok(connection) = opened else { return };
        let begin = Instant::now();
        client.adopt(connection);
        let asked: Result<(), Error> =
            async { discard(client.send(&Call::new(Method::GET, "/v2/")).await?).await }.await;
        recorder.took("first request", begin.elapsed(), 0, asked.as_ref().err());
        client.disconnect();
    }
}
