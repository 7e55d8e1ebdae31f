//! JSON ↔ Protobuf, by the canonical mapping. <https://protobuf.dev/programming-guides/json/>
//!
//! The reader is strict. A misspelt field must not count as omitted, because the defaults may grant more. A
//! member that occurs twice, under either of its names, must not be read differently by a proxy in front.

use std::collections::BTreeSet;

use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor,
    prost::{DecodeError, Message as _},
};
use serde_json::{Map, Value};
use token_interceptor::json;

/// The reason that a text is not the method's message. It never quotes the caller's text.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("The message is not one JSON object, has a member twice, or nests too deeply.")]
    NotAnObject,
    #[error("{message} has no such field. Its fields are: {fields}.")]
    UnknownField { message: String, fields: String },
    #[error("The field {field} occurs twice, under its two names.")]
    Repeated { field: String },
    #[error("The field {field} has a value of another type.")]
    Type { field: String },
    #[error("The message is not of the type {message}.")]
    Message { message: String },
}

/// Reads JSON as a message of this type. Returns it as Protobuf.
pub(super) fn from_json(kind: &MessageDescriptor, text: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let members = json::object(text).map_err(|_| Unreadable::NotAnObject)?;
    check_names(kind, &members)?;
    let value = Value::Object(members);
    match DynamicMessage::deserialize(kind.clone(), &value) {
        Ok(message) => Ok(message.encode_to_vec()),
        Err(_) => Err(mistyped(kind, value)),
    }
}

/// Writes a message of this type as JSON.
pub(super) fn to_json(kind: MessageDescriptor, message: &[u8]) -> Result<Value, DecodeError> {
    let message = DynamicMessage::decode(kind, message)?;
    // Only a value outside of its own type's range cannot be written, and then it is not shown.
    Ok(serde_json::to_value(message).unwrap_or_default())
}

/// Checks that every member names a field, and none a field that another has named.
fn check_names(kind: &MessageDescriptor, members: &Map<String, Value>) -> Result<(), Unreadable> {
    // These have a form of their own in JSON, which the mapping checks.
    if kind.package_name() == "google.protobuf" {
        return Ok(());
    }
    let mut seen = BTreeSet::new();
    for (name, value) in members {
        let field = field(kind, name).ok_or_else(|| unknown_field(kind))?;
        if !seen.insert(field.number()) {
            return Err(Unreadable::Repeated { field: field.full_name().to_owned() });
        }
        let Kind::Message(inner) = field.kind() else { continue };
        match value {
            Value::Object(entries) if field.is_map() => {
                let Kind::Message(inner) = inner.map_entry_value_field().kind() else { continue };
                entries.values().filter_map(Value::as_object).try_for_each(|entry| check_names(&inner, entry))?;
            }
            Value::Object(members) => check_names(&inner, members)?,
            Value::Array(items) => {
                items.iter().filter_map(Value::as_object).try_for_each(|item| check_names(&inner, item))?;
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    Ok(())
}

/// Returns the field of this name, in either form: `clientId` or `client_id`.
fn field(kind: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    kind.get_field_by_json_name(name).or_else(|| kind.get_field_by_name(name))
}

fn unknown_field(kind: &MessageDescriptor) -> Unreadable {
    let fields: Vec<String> = kind.fields().map(|field| field.json_name().to_owned()).collect();
    let fields = if fields.is_empty() { "none".to_owned() } else { fields.join(", ") };
    Unreadable::UnknownField { message: kind.full_name().to_owned(), fields }
}

/// Finds the member that does not fit by reading each alone.
fn mistyped(kind: &MessageDescriptor, value: Value) -> Unreadable {
    let Value::Object(members) = value else { return Unreadable::NotAnObject };
    for (name, value) in members {
        let (found, alone) = (field(kind, &name), Value::Object(Map::from_iter([(name, value)])));
        if let (Some(field), Err(_)) = (found, DynamicMessage::deserialize(kind.clone(), &alone)) {
            return Unreadable::Type { field: field.full_name().to_owned() };
        }
    }
    Unreadable::Message { message: kind.full_name().to_owned() }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use serde_json::json;
    use token_proto::{
        admin::v1::{Client, CreateClientRequest, Grant},
        token::v1::{IntrospectTokenResponse, IssueTokenRequest},
    };

    use super::*;
    use crate::connect::contract::Contract;

    fn kind(name: &str) -> MessageDescriptor {
        Contract::embedded().unwrap().message(name).unwrap()
    }

    fn create(text: &str) -> Result<CreateClientRequest, String> {
        let read = from_json(&kind("m2m.admin.v1.CreateClientRequest"), text.as_bytes());
        read.map(|bytes| CreateClientRequest::decode(&*bytes).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn names_of_both_forms_are_read() {
        let grants = vec![Grant { audience: "a".into(), scopes: vec!["s".into()], ..Grant::default() }];
        let client = Client { client_id: "b".into(), grants, ..Client::default() };
        let expected = CreateClientRequest { client: Some(client), ..CreateClientRequest::default() };
        for name in ["clientId", "client_id"] {
            let text = format!(r#"{{"client":{{"{name}":"b","grants":[{{"audience":"a","scopes":["s"]}}]}}}}"#);
            assert_eq!(create(&text).unwrap(), expected);
        }
    }

    #[test]
    fn null_counts_as_omitted() {
        assert_eq!(create(r#"{"client":null}"#).unwrap(), CreateClientRequest::default());
    }

    #[test]
    fn a_field_is_given_once_under_one_name() {
        for twice in [
            r#"{"client":{"clientId":"a","client_id":"b"}}"#,
            r#"{"client":{"grants":[{"defaultScopes":[],"default_scopes":["x"]}]}}"#,
        ] {
            assert!(create(twice).unwrap_err().contains("occurs twice"), "{twice}");
        }
        assert!(create(r#"{"client":{"clientId":"a","clientId":"b"}}"#).unwrap_err().contains("a member twice"));
    }

    #[test]
    fn an_unknown_field_is_refused_with_the_known_ones() {
        for unknown in
            [r#"{"swordfish":1}"#, r#"{"client":{"swordfish":1}}"#, r#"{"client":{"grants":[{"swordfish":1}]}}"#]
        {
            let error = create(unknown).unwrap_err();
            assert!(error.contains("has no such field") && !error.contains("swordfish"), "{error}");
        }
        assert!(create(r#"{"client":{"grants":[{"x":1}]}}"#).unwrap_err().contains("defaultScopes"));
    }

    #[test]
    fn a_value_of_another_type_is_named_and_not_quoted() {
        for wrong in
            [r#"{"client":"swordfish"}"#, r#"{"client":{"clientId":["swordfish"]}}"#, r#"{"client":["swordfish"]}"#]
        {
            let error = create(wrong).unwrap_err();
            assert!(error.contains("m2m.admin.v1.CreateClientRequest.client "), "{error}");
            assert!(!error.contains("swordfish"), "{error}");
        }
    }

    /// Two members of one oneof: the credential is a secret or an assertion.
    #[test]
    fn two_members_of_one_oneof_are_refused() {
        let text = br#"{"client":{"clientSecret":"swordfish","assertion":{"value":"x"}}}"#;
        let error = from_json(&kind("m2m.token.v1.IssueTokenRequest"), text).unwrap_err().to_string();
        assert!(!error.contains("swordfish"), "{error}");
    }

    #[test]
    fn anything_but_one_shallow_object_is_refused() {
        let deep = format!(r#"{{"client":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        for text in ["", "null", "[]", "1", "{", "{}{}", "{} x", "\u{feff}{}", &*deep] {
            assert!(create(text).unwrap_err().starts_with("The message is not one JSON object"));
        }
    }

    /// The levels of objects and arrays that the largest message has.
    fn levels(kind: &MessageDescriptor) -> usize {
        if kind.package_name() == "google.protobuf" {
            return 0;
        }
        let of = |field: FieldDescriptor| {
            let outer = usize::from(field.is_list() || field.is_map());
            let value =
                if field.is_map() { field.kind().as_message()?.map_entry_value_field().kind() } else { field.kind() };
            Some(outer + value.as_message().map_or(0, levels))
        };
        1 + kind.fields().filter_map(of).max().unwrap_or(0)
    }

    #[test]
    fn every_request_of_the_contract_fits_into_the_depth() {
        let nested = |depth: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
        let deepest = token_proto::POLICY
            .iter()
            .map(|method| levels(&Contract::embedded().unwrap().method(&method.path).unwrap().input));
        let deepest = deepest.max().unwrap();
        assert!(deepest >= 4 && json::object(nested(deepest).as_bytes()).is_ok(), "{deepest} levels");
    }

    #[test]
    fn durations_and_numbers_have_their_own_forms() {
        let bytes = from_json(&kind("m2m.token.v1.IssueTokenRequest"), br#"{"lifetime":"1.5s"}"#).unwrap();
        let lifetime = IssueTokenRequest::decode(&*bytes).unwrap().lifetime.unwrap();
        assert_eq!((lifetime.seconds, lifetime.nanos), (1, 500_000_000));
        let claims = Some(prost_types::Struct { fields: [("exp".to_owned(), prost_types::Value::from(7.0))].into() });
        let told = IntrospectTokenResponse { active: true, claims }.encode_to_vec();
        let told = to_json(kind("m2m.token.v1.IntrospectTokenResponse"), &told).unwrap();
        assert_eq!(told, json!({"active": true, "claims": {"exp": 7.0}}));
    }
}
