//! The Rust executor: the layers of this repository, behind the protocol of the suite.

use std::io::{Read, Write};

use crate::{
    client,
    protocol::{
        self,
        v1::{
            ConformanceRequest, ConformanceResponse, conformance_request::Case, conformance_response::Result as Outcome,
        },
    },
    server::{self, KeyServer},
};

/// The executor, with the runtime that the server layer needs.
#[derive(Debug)]
pub struct Executor {
    runtime: tokio::runtime::Runtime,
    keys: KeyServer,
}

impl Executor {
    /// Starts the executor.
    ///
    /// # Errors
    ///
    /// When there is no loopback port for the key sets.
    pub fn start() -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let keys = runtime.block_on(KeyServer::start())?;
        Ok(Self { runtime, keys })
    }

    /// Runs one case.
    #[must_use]
    pub fn run(&self, request: ConformanceRequest) -> ConformanceResponse {
        let outcome = match request.case {
            Some(Case::Server(case)) => {
                self.runtime.block_on(server::run(&request.name, case, &self.keys)).map(Outcome::Server)
            }
            Some(Case::Client(case)) => client::run(case).map(Outcome::Client),
            None => Err("the request has no case".into()),
        };
        ConformanceResponse { result: Some(outcome.unwrap_or_else(|error| Outcome::Error(error.to_string()))) }
    }

    /// Answers requests until the input ends.
    ///
    /// # Errors
    ///
    /// When the other side does not follow the protocol.
    pub fn serve(&self, mut from: impl Read, mut to: impl Write) -> std::io::Result<()> {
        while let Some(request) = protocol::read(&mut from)? {
            protocol::write(&mut to, &self.run(request))?;
        }
        Ok(())
    }
}
