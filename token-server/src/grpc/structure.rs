//! JSON → `google.protobuf.Struct`.

use prost_types::{ListValue, Struct, Value as Wire, value::Kind};
use serde_json::{Map, Value};

/// Converts an object. Every number becomes a double.
pub(super) fn of(object: Map<String, Value>) -> Struct {
    Struct { fields: object.into_iter().map(|(name, member)| (name, value(member))).collect() }
}

fn value(value: Value) -> Wire {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(bool) => Kind::BoolValue(bool),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => Kind::StringValue(text),
        Value::Array(items) => Kind::ListValue(ListValue { values: items.into_iter().map(self::value).collect() }),
        Value::Object(members) => Kind::StructValue(of(members)),
    };
    Wire { kind: Some(kind) }
}
