//! Strict JSON for tokens and key sets: no repeated member (RFC 7515 section 4), bounded depth, no trailing
//! text.
//!
//! `serde_json` keeps the last of two equal members. Where two parsers disagree on which one counts, a token
//! says one thing to a gateway and another to the service behind it.

use std::fmt;

use serde::{
    Deserialize,
    de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// The nesting depth of objects and arrays, at most.
const DEPTH_MAX: u8 = 8;

/// Reads `text` as one JSON object.
///
/// # Errors
///
/// Returns an error if it is not JSON, not an object, repeats a member, nests deeper than eight levels, or
/// has trailing text.
pub fn object(text: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict(DEPTH_MAX).deserialize(&mut deserializer)?;
    deserializer.end()?;
    match value {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(de::Error::custom("not a JSON object"))
        }
    }
}

/// Reads `text` as one JSON object into `T`. Unlike serde's derived code, it rejects an array of the fields.
///
/// # Errors
///
/// Returns an error if it is not JSON, not an object, or does not fit `T`.
pub fn from_object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, serde_json::Error> {
    match text.trim_ascii_start().first() {
        Some(b'{') => serde_json::from_slice(text),
        Some(_) | None => Err(de::Error::custom("not a JSON object")),
    }
}

/// Returns the member of this name, or at this JSON Pointer (RFC 6901), which begins with `/`.
#[must_use]
pub fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let Some(pointer) = name.strip_prefix('/') else { return object.get(name) };
    let (first, rest) = pointer.split_at(pointer.find('/').unwrap_or(pointer.len()));
    // RFC 6901 section 4: in this order.
    let first = first.replace("~1", "/").replace("~0", "~");
    object.get(&first)?.pointer(rest)
}

/// The nesting levels that are left.
struct Strict(u8);

impl Strict {
    fn inner<E: de::Error>(&self) -> Result<u8, E> {
        self.0.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let depth = self.inner()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Strict(depth))? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let depth = self.inner()?;
        let mut members = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Strict(depth))?;
            if members.contains_key(&name) {
                return Err(de::Error::custom("a member occurs twice"));
            }
            members.insert(name, value);
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use super::{from_object, object};

    #[test]
    fn accepts_nested_values() {
        let members = object(br#"{"a":1,"b":{"c":[1,2.5,"x",null,true]}}"#).unwrap();
        assert_eq!(members["b"]["c"][1], 2.5);
    }

    #[test]
    fn rejects_a_member_that_occurs_twice() {
        assert!(object(br#"{"a":1,"a":2}"#).is_err());
    }

    #[test]
    fn rejects_a_repeated_member_behind_an_escape() {
        assert!(object(br#"{"a":1,"\u0061":2}"#).is_err());
    }

    #[test]
    fn rejects_a_repeated_member_in_a_nested_object() {
        assert!(object(br#"{"o":{"x":1,"x":1}}"#).is_err());
    }

    #[test]
    fn rejects_deep_nesting() {
        assert!(object(br#"{"a":[[[[[[[1]]]]]]]}"#).is_ok());
        assert!(object(br#"{"a":[[[[[[[[1]]]]]]]]}"#).is_err());
    }

    #[test]
    fn rejects_a_tail_and_anything_but_an_object() {
        assert!(object(br#"{"a":1} x"#).is_err());
        assert!(object(b"[1]").is_err());
        assert!(object(b"").is_err());
    }

    #[test]
    fn an_array_is_no_structure() {
        #[derive(Debug, serde::Deserialize)]
        struct One {
            a: u8,
        }
        assert_eq!(from_object::<One>(b" \n{\"a\":1}").unwrap().a, 1);
        for bad in [&b"[1]"[..], b" [1]", b"1", b"", b"{\"a\":1}x", b"{\"a\":1,\"a\":1}"] {
            assert!(from_object::<One>(bad).is_err(), "{bad:?}");
        }
    }
}
