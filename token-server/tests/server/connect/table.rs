//! A request for every unary method of the descriptor set, in an order in which one leads to the next.

use serde_json::{Value, json};

/// The credentials of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// None, or those in the message.
    Message,
    /// A token of the operator.
    Operator,
    /// The token that `IssueToken` issued.
    Client,
}

/// One request. A word in braces stands for what an earlier answer, or the test, has under this name.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) path: &'static str,
    pub(super) by: By,
    pub(super) message: Value,
    /// The name for a value of the answer, and its place there.
    pub(super) keeps: Option<(&'static str, &'static str)>,
    /// The code of the answer in every protocol.
    pub(super) code: &'static str,
}

fn row(path: &'static str, by: By, message: Value) -> Row {
    Row { path, by, message, keeps: None, code: "Ok" }
}

impl Row {
    fn keeps(self, name: &'static str, place: &'static str) -> Self {
        Self { keeps: Some((name, place)), ..self }
    }

    fn refused(self, code: &'static str) -> Self {
        Self { code, ..self }
    }
}

pub(super) fn rows() -> Vec<Row> {
    use By::{Client, Message, Operator};
    let client = json!({"clientId": "{id}", "clientSecret": "{secret}"});
    let access_token = "urn:ietf:params:oauth:token-type:access_token";
    let billing = json!({"clientId": "billing"});
    let grants = json!([{"audience": "inventory", "scopes": ["inventory.read"]}]);
    vec![
        row("/grpc.health.v1.Health/Check", Message, json!({})),
        row("/m2m.token.v1.TrustService/GetIssuer", Message, json!({})),
        row("/m2m.token.v1.TrustService/ListKeys", Message, json!({})),
        row(
            "/m2m.token.v1.TokenService/IssueToken",
            Message,
            json!({"client": client, "audiences": ["inventory"], "lifetime": "120s"}),
        )
        .keeps("{token}", "/token/value"),
        row("/m2m.token.v1.TokenService/IntrospectToken", Message, json!({"client": client, "token": "{token}"})),
        row("/m2m.token.v1.TokenService/GetUserInfo", Client, json!({})),
        row(
            "/m2m.token.v1.TokenService/ExchangeToken",
            Message,
            json!({"client": client, "subject": {"value": "{token}", "type": access_token}}),
        )
        .refused("PermissionDenied"),
        row("/m2m.token.v1.TokenService/RevokeToken", Message, json!({"client": client, "token": "{token}"})),
        row(
            "/m2m.admin.v1.ClientService/CreateClient",
            Operator,
            json!({"client": {"clientId": "billing", "grants": grants}}),
        ),
        row("/m2m.admin.v1.ClientService/GetClient", Operator, billing.clone()),
        row("/m2m.admin.v1.ClientService/ListClients", Operator, json!({"pageSize": 2})),
        row(
            "/m2m.admin.v1.ClientService/UpdateClient",
            Operator,
            json!({"client": {"clientId": "billing", "displayName": "B"}, "updateMask": "displayName"}),
        ),
        row("/m2m.admin.v1.ClientService/AddCredential", Operator, json!({"clientId": "billing", "overlap": "60s"}))
            .keeps("{credential}", "/credential/credentialId"),
        row(
            "/m2m.admin.v1.ClientService/RemoveCredential",
            Operator,
            json!({"clientId": "billing", "credentialId": "{credential}"}),
        ),
        row("/m2m.admin.v1.ClientService/RevokeClientTokens", Operator, billing.clone()),
        row("/m2m.admin.v1.ClientService/ReplaceRegistrationToken", Operator, billing.clone())
            .refused("FailedPrecondition"),
        row("/m2m.admin.v1.ClientService/DeleteClient", Operator, billing),
        row("/m2m.admin.v1.AuditService/ListAdminRecords", Operator, json!({"pageSize": 2})),
        row("/m2m.admin.v1.KeyService/ListSigningKeys", Operator, json!({})).keeps("{key}", "/keys/0/keyId"),
        row("/m2m.admin.v1.KeyService/RotateSigningKey", Operator, json!({})),
        // The last: its key has signed the operator's token.
        row("/m2m.admin.v1.KeyService/DistrustSigningKey", Operator, json!({"keyId": "{key}"})),
    ]
}
