//! The members of one JSON object. A reader takes those that it understands; the rest is reported.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

/// The last second of the year 9999, the last year of RFC 3339.
const TIME_MAX: u64 = 253_402_300_799;

/// A member that is set, and not of the expected type.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// The members that no reader has taken yet.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// `None` for a value that is no object.
    pub(super) fn of(value: Value) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Self(members)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        }
    }

    /// Takes a member if `read` understands it. A member of another type stays, so that it is reported.
    fn take<T>(&mut self, name: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let read = self.0.get(name).and_then(read)?;
        self.0.remove(name);
        Some(read)
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.take(name, |value| value.as_str().map(str::to_owned)).filter(|text| !text.is_empty())
    }

    /// A text of which the absence means something. A value of another type is no absence: it reads as a text
    /// that no reader knows.
    pub(super) fn keyword(&mut self, name: &str) -> Option<String> {
        self.text(name).or_else(|| self.json(name).map(|_| "(not a text)".to_owned()))
    }

    /// A flag, as JSON or as the text that Keycloak's attributes have. Absent: false.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        let read = |value: &Value| value.as_bool().or_else(|| value.as_str()?.parse().ok());
        self.take(name, read).unwrap_or_default()
    }

    /// A whole number, as JSON or as text.
    pub(super) fn number(&mut self, name: &str) -> Option<u64> {
        self.take(name, |value| value.as_u64().or_else(|| value.as_str()?.parse().ok()))
    }

    /// A time of expiry, in seconds since 1970. Absent or 0: never.
    pub(super) fn expiry(&mut self, name: &str) -> Result<Option<SystemTime>, Unreadable> {
        match self.number(name) {
            Some(0) => Ok(None),
            Some(seconds) if seconds <= TIME_MAX => Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))),
            Some(_) => Err(Unreadable),
            None if self.json(name).is_some() => Err(Unreadable),
            None => Ok(None),
        }
    }

    /// A list of texts. Absent: empty. A list with anything else stays, so that it is reported.
    pub(super) fn texts(&mut self, name: &str) -> Vec<String> {
        let read = |value: &Value| {
            value.as_array()?.iter().map(|each| each.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        };
        self.take(name, read).unwrap_or_default()
    }

    /// An object. Absent: empty.
    pub(super) fn object(&mut self, name: &str) -> Self {
        Self(self.take(name, |value| value.as_object().cloned()).unwrap_or_default())
    }

    /// A list of objects. Absent: empty. A list with anything else stays, so that it is reported.
    pub(super) fn objects(&mut self, name: &str) -> Vec<Self> {
        let read = |value: &Value| {
            value.as_array()?.iter().map(|each| each.as_object().cloned().map(Self)).collect::<Option<Vec<_>>>()
        };
        self.take(name, read).unwrap_or_default()
    }

    /// The JSON of a member.
    pub(super) fn json(&mut self, name: &str) -> Option<String> {
        self.take(name, |value| (!is_unset(value)).then(|| value.to_string()))
    }

    /// The names of the members that are left, in order.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// The names of the members that are left and set, each with `prefix`.
    pub(super) fn left(self, prefix: &str) -> Vec<String> {
        self.0.into_iter().filter(|(_, value)| !is_unset(value)).map(|(name, _)| format!("{prefix}{name}")).collect()
    }
}

/// True for a value that says nothing: null, false, zero, an empty text, list or object.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "false",
        Value::Array(items) => items.iter().all(is_unset),
        Value::Object(members) => members.values().all(is_unset),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_member_of_another_type_stays_and_is_reported() {
        let members = json!({
            "name": 3, "flag": "perhaps", "list": ["a", 1], "objects": [{}, 2], "unset": "", "off": "false", "good": "a",
            "zero": 0, "none": null, "empty": [{"a": null}]
        });
        let mut fields = Fields::of(members).unwrap();
        assert_eq!((fields.text("name"), fields.flag("flag")), (None, false));
        assert_eq!((fields.texts("list").len(), fields.objects("objects").len()), (0, 0));
        assert_eq!(fields.text("good").unwrap(), "a");
        assert_eq!(
            (fields.keyword("unset"), fields.keyword("none"), fields.keyword("off")),
            (None, None, Some("false".into()))
        );
        assert_eq!(fields.left("x."), ["x.flag", "x.list", "x.name", "x.objects"]);
    }

    #[test]
    fn an_expiry_is_never_read_as_never_by_mistake() {
        let members = json!({
            "number": 2, "text": "2", "zero": 0, "zero text": "0", "null": null, "last": TIME_MAX,
            "beyond": TIME_MAX + 1, "far": u64::MAX, "past": -1, "part": 1.5, "word": "soon", "list": [2]
        });
        let mut fields = Fields::of(members).unwrap();
        let two = SystemTime::UNIX_EPOCH + Duration::from_secs(2);
        for (name, expected) in [("number", Some(two)), ("text", Some(two)), ("zero", None), ("zero text", None)] {
            assert_eq!(fields.expiry(name), Ok(expected), "{name}");
        }
        assert_eq!((fields.expiry("null"), fields.expiry("absent")), (Ok(None), Ok(None)));
        let last = fields.expiry("last").unwrap().unwrap();
        assert_eq!(humantime::format_rfc3339_seconds(last).to_string(), "9999-12-31T23:59:59Z");
        for name in ["beyond", "far", "past", "part", "word", "list"] {
            assert_eq!(fields.expiry(name), Err(Unreadable), "{name}");
        }
    }
}
