//! Every case: its request, and its expected result.

use prost_types::{Duration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    annotation,
    case::{self, ClientExpectation, ServerExpectation},
    protocol::v1::{
        Call, ClientCase, ClockJump, ConformanceRequest, IssuerAnswer, ServerAnswer, ServerCase, TrustedIssuer,
        conformance_request::Case as Kind,
    },
    token,
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The files of cases.
const FILES: [(&str, &str); 10] = [
    ("policy", include_str!("../cases/policy.json")),
    ("annotation", include_str!("../cases/annotation.json")),
    ("claims", include_str!("../cases/claims.json")),
    ("identify", include_str!("../cases/identify.json")),
    ("observe", include_str!("../cases/observe.json")),
    ("token", include_str!("../cases/token.json")),
    ("keys", include_str!("../cases/keys.json")),
    ("es512", include_str!("../cases/es512.json")),
    ("refresh", include_str!("../cases/refresh.json")),
    ("response", include_str!("../cases/response.json")),
];
const FORGERIES: &str = include_str!("../../../token-interceptor/testdata/forgeries.json");
const CATALOG: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/catalog.bin"));

/// One case of the suite.
#[derive(Clone, Debug)]
pub struct Case {
    /// The request to the executor. It has the name of the case.
    pub request: ConformanceRequest,
    pub(crate) expected: Expected,
}

#[derive(Clone, Debug)]
pub(crate) enum Expected {
    Server(Box<ServerExpectation>),
    Client(ClientExpectation),
}

/// Returns every case, with keys and tokens of this run.
///
/// # Errors
///
/// When a file of cases is malformed. The error names the file.
pub fn cases() -> Result<Vec<Case>> {
    let mut cases = forged()?;
    for (family, text) in FILES {
        let file: case::File = serde_json::from_str(text).map_err(|error| format!("cases/{family}.json: {error}"))?;
        for case in file.server {
            cases.push(of_server(family, case)?);
        }
        for case in file.client {
            cases.push(of_client(family, case));
        }
    }
    Ok(cases)
}

fn of_server(family: &str, case: case::ServerCase) -> Result<Case> {
    let name = format!("{family}/{}", case.name);
    let keys = token::keys(&case.keys)?;
    let signed = token::sign(&case.token, &keys).map_err(|error| format!("{name}: {error}"))?;
    let issuers = case.issuers.iter().map(|issuer| {
        let (issuer_id, algorithms) = (issuer.issuer.clone(), issuer.algorithms.clone());
        let jwks = if issuer.unreachable { Vec::new() } else { token::key_set(issuer, &keys)? };
        Ok(TrustedIssuer { issuer: issuer_id, jwks, unreachable: issuer.unreachable, algorithms })
    });
    let (descriptors, services) = match &case.annotation {
        Some(annotation) => {
            let set = annotation::descriptors(annotation).map_err(|error| format!("{name}: {error}"))?;
            (set, vec![annotation::SERVICE.to_owned()])
        }
        None => (CATALOG.to_vec(), case.services),
    };
    let server = ServerCase {
        descriptors,
        services,
        issuers: issuers.collect::<Result<_>>()?,
        now: Some(now()),
        method: case.method,
        authorization: case.authorization.iter().map(|value| value.replace("{}", &signed)).collect(),
        handler_marks: case.handler_marks,
        revoked_token_ids: case.revoked_token_ids,
        observe: case.observe,
    };
    let request = ConformanceRequest { name, case: Some(Kind::Server(server)) };
    Ok(Case { request, expected: Expected::Server(Box::new(case.expect)) })
}

fn of_client(family: &str, case: case::ClientCase) -> Case {
    let answers = case.answers.into_iter().map(|answer| IssuerAnswer {
        delay: Some(duration(answer.delay)),
        connection_failed: answer.connection_failed,
        status: if answer.connection_failed { 0 } else { answer.status },
        retry_after: answer.retry_after,
        body: if answer.body.is_null() {
            Vec::new()
        } else {
            answer.body.as_str().map_or_else(|| answer.body.to_string(), str::to_owned).into_bytes()
        },
    });
    let calls = case.calls.into_iter().map(|call| Call {
        at: Some(duration(call.at)),
        method: call.method,
        deadline: call.deadline.map(duration),
        answers: (call.answers.into_iter())
            .map(|answer| ServerAnswer { code: answer.code, reason: answer.reason, marks: answer.marks })
            .collect(),
    });
    let jumps = case.jumps.iter().map(|jump| ClockJump { at: Some(duration(jump.at)), by: Some(duration(jump.by)) });
    let client = ClientCase {
        descriptors: CATALOG.to_vec(),
        answers: answers.collect(),
        calls: calls.collect(),
        jumps: jumps.collect(),
        until: Some(duration(case.until)),
        draw: case.draw,
        start: Some(now()),
        sharing: case.sharing,
    };
    let request = ConformanceRequest { name: format!("{family}/{}", case.name), case: Some(Kind::Client(client)) };
    Case { request, expected: Expected::Client(case.expect) }
}

/// The published forgeries, and the valid tokens beside them.
fn forged() -> Result<Vec<Case>> {
    #[derive(Deserialize)]
    struct Gallery {
        issuer: String,
        jwks: Value,
        good: Vec<Entry>,
        forgeries: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        name: String,
        token: String,
        #[serde(default)]
        reason: String,
    }
    const METHOD: &str = "/conformance.catalog.v1.Inventory/Get";

    let gallery: Gallery = serde_json::from_str(FORGERIES)?;
    let trusted = TrustedIssuer {
        issuer: gallery.issuer,
        jwks: gallery.jwks.to_string().into_bytes(),
        unreachable: false,
        algorithms: Vec::new(),
    };
    let case = |entry: Entry| {
        let expected = if entry.reason.is_empty() {
            ServerExpectation { allowed: Some(case::Caller::default()), ..ServerExpectation::default() }
        } else {
            // A token for another audience gives no reason for a renewal.
            let renewable = entry.reason != "TOKEN_AUDIENCE_MISMATCH";
            let marks = renewable.then(|| format!("before-handler {METHOD}")).into_iter().collect();
            let refusal = case::Refusal { code: 16, reason: entry.reason, ..case::Refusal::default() };
            ServerExpectation { refused: Some(refusal), marks, ..ServerExpectation::default() }
        };
        let server = ServerCase {
            descriptors: CATALOG.to_vec(),
            services: vec!["conformance.catalog.v1.Inventory".to_owned()],
            issuers: vec![trusted.clone()],
            now: Some(now()),
            method: METHOD.to_owned(),
            authorization: vec![format!("Bearer {}", entry.token)],
            ..ServerCase::default()
        };
        let name = format!("forgery/{}", entry.name);
        Case {
            request: ConformanceRequest { name, case: Some(Kind::Server(server)) },
            expected: Expected::Server(Box::new(expected)),
        }
    };
    Ok(gallery.good.into_iter().chain(gallery.forgeries).map(case).collect())
}

fn now() -> Timestamp {
    Timestamp { seconds: token::NOW, nanos: 0 }
}

fn duration(millis: i64) -> Duration {
    let nanos = i32::try_from((millis % 1000) * 1_000_000).unwrap_or_default();
    Duration { seconds: millis / 1000, nanos }
}
