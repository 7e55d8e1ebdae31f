//! Token exchange with a subject token from a file, such as the identity token of a CI system or of
//! Kubernetes.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use token_interceptor::source::{
    IssuedToken, IssuerRefusal, SourceError, SubjectToken, TokenExchange, TokenRequest, TokenSource,
};

use crate::command::failure::Failure;

/// An exchange that reads the subject token from a file for each request, because the file is replaced before
/// the token expires.
#[derive(Debug)]
pub(super) struct ExchangedFile {
    exchange: TokenExchange,
    file: PathBuf,
}

impl ExchangedFile {
    pub(super) fn new(exchange: TokenExchange, file: &Path) -> Self {
        Self { exchange, file: file.to_owned() }
    }
}

#[async_trait]
impl TokenSource for ExchangedFile {
    async fn fetch(&self, request: &TokenRequest) -> Result<IssuedToken, SourceError> {
        let subject =
            read(&self.file).map_err(|failure| SourceError::refused(IssuerRefusal::Token, failure.to_string()))?;
        self.exchange.fetch(&request.clone().on_behalf_of(subject)).await
    }
}

/// Reads the token in the file.
pub(super) fn read(file: &Path) -> Result<SubjectToken, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("cannot read the subject token {}", file.display())).because(error))?;
    match text.trim() {
        "" => Err(Failure::usage(format!("the subject token {} is empty", file.display()))),
        token => Ok(SubjectToken::new(token)),
    }
}
