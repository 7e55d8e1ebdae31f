//! `POST /oauth/register`, and `GET`, `PUT`, `DELETE` below it. RFC 7591 section 3, RFC 7592 section 2.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, Request, State, rejection::PathRejection},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use token_issuer::{
    origin::Origin,
    registration::{Asked, ClientInformation, Registrar, RegistrationError},
};

use super::{Shared, body, error};

use crate::connection;

/// The state that these endpoints share. They exist only if clients may register themselves.
#[derive(Clone)]
pub(super) struct Registering {
    pub(super) registrar: Arc<Registrar>,
    pub(super) shared: Shared,
}

type Id = Result<Path<String>, PathRejection>;

pub(super) async fn register(State(state): State<Registering>, mut request: Request) -> Response {
    let origin = connection::origin(request.headers(), request.extensions());
    let headers = std::mem::take(request.headers_mut());
    let told =
        state.registrar.register(Asked { origin: &origin, headers: &headers }, body::object(&headers, request)).await;
    let mut response = answer(told, &origin, &state.shared);
    if response.status() == StatusCode::OK {
        // RFC 7591 section 3.2.1.
        *response.status_mut() = StatusCode::CREATED;
    }
    response
}

pub(super) async fn read(State(state): State<Registering>, id: Id, request: Request) -> Response {
    let origin = connection::origin(request.headers(), request.extensions());
    let asked = Asked { origin: &origin, headers: request.headers() };
    answer(state.registrar.read(asked, &text(id)).await, &origin, &state.shared)
}

pub(super) async fn update(State(state): State<Registering>, id: Id, mut request: Request) -> Response {
    let origin = connection::origin(request.headers(), request.extensions());
    let headers = std::mem::take(request.headers_mut());
    let asked = Asked { origin: &origin, headers: &headers };
    let told = state.registrar.update(asked, &text(id), body::object(&headers, request)).await;
    answer(told, &origin, &state.shared)
}

pub(super) async fn delete(State(state): State<Registering>, id: Id, request: Request) -> Response {
    let origin = connection::origin(request.headers(), request.extensions());
    let asked = Asked { origin: &origin, headers: request.headers() };
    match state.registrar.delete(asked, &text(id)).await {
        Ok(()) => {
            // RFC 7592 section 2.3.
            let mut response = StatusCode::NO_CONTENT.into_response();
            body::never_cached(response.headers_mut(), &origin);
            response
        }
        Err(refusal) => refuse(refusal, &origin, &state.shared),
    }
}

/// Returns the ID as text. An ID that cannot be decoded matches no client.
fn text(id: Id) -> String {
    id.map(|Path(id)| id).unwrap_or_default()
}

fn answer(told: Result<ClientInformation, RegistrationError>, origin: &Origin, shared: &Shared) -> Response {
    let answer = told.and_then(|told| Ok(body::answer(&told.json(), origin)?));
    answer.unwrap_or_else(|refusal| refuse(refusal, origin, shared))
}

fn refuse(refusal: RegistrationError, origin: &Origin, shared: &Shared) -> Response {
    match refusal {
        RegistrationError::Bearer(answer) => {
            let mut response = answer.into_http().map(Body::new);
            body::never_cached(response.headers_mut(), origin);
            response
        }
        RegistrationError::Metadata { code, description } => error::metadata_refused(code, &description, origin),
        RegistrationError::Forbidden(sentence) => error::registration_forbidden(sentence, origin),
        RegistrationError::Other(refusal) => error::response(&refusal, origin, &shared.challenge),
    }
}
