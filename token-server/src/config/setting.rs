//! The types of value that a setting accepts.

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use token_interceptor::signature::Algorithm;
use token_issuer::client::{AuthenticationMethod, GrantType};

use super::source::Value;

/// A type that a setting can have.
pub(super) trait Setting: Sized {
    /// The allowed values, in words.
    const ALLOWED: &'static str;

    /// Reads the value, or returns the problem.
    fn read(value: &Value) -> Result<Self, String>;
}

/// Returns the value as text, if it is text.
fn text<'v>(value: &'v Value, kind: &str) -> Result<&'v str, String> {
    match value {
        Value::Text(text) | Value::Variable(text) => Ok(text),
        Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::List(_)
        | Value::Table(_)
        | Value::Other(_) => Err(format!("{} is not {kind}", describe(value))),
    }
}

/// Returns the value in the form that a message quotes.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Variable(text) => format!("{text:?}"),
        Value::Integer(number) => format!("the integer {number}"),
        Value::Float(number) => format!("the number {number}"),
        Value::Boolean(flag) => format!("the boolean {flag}"),
        Value::List(_) => "a list".to_owned(),
        Value::Table(_) => "a section".to_owned(),
        Value::Other(kind) => format!("a {kind}"),
    }
}

impl Setting for String {
    const ALLOWED: &'static str = "text in quotes, not empty";

    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value, "text")?;
        if text.is_empty() {
            return Err("it is empty".to_owned());
        }
        Ok(text.to_owned())
    }
}

impl Setting for PathBuf {
    const ALLOWED: &'static str = "a path in quotes";

    fn read(value: &Value) -> Result<Self, String> {
        String::read(value).map(Self::from)
    }
}

impl Setting for bool {
    const ALLOWED: &'static str = "true or false";

    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Boolean(flag) => Ok(*flag),
            Value::Variable(text) if text == "true" => Ok(true),
            Value::Variable(text) if text == "false" => Ok(false),
            Value::Text(_)
            | Value::Variable(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::List(_)
            | Value::Table(_)
            | Value::Other(_) => Err(format!("{} is neither true nor false", describe(value))),
        }
    }
}

impl Setting for u64 {
    const ALLOWED: &'static str = "a whole number";

    fn read(value: &Value) -> Result<Self, String> {
        let number = match value {
            Value::Integer(number) => Self::try_from(*number).ok(),
            Value::Variable(text) => text.parse().ok(),
            Value::Text(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::List(_)
            | Value::Table(_)
            | Value::Other(_) => None,
        };
        number.ok_or_else(|| format!("{} is not a whole number", describe(value)))
    }
}

impl Setting for f64 {
    const ALLOWED: &'static str = "a number";

    fn read(value: &Value) -> Result<Self, String> {
        let number = match value {
            Value::Float(number) => Some(*number),
            Value::Integer(number) => i32::try_from(*number).ok().map(Self::from),
            Value::Variable(text) => text.parse().ok(),
            Value::Text(_) | Value::Boolean(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => None,
        };
        number.ok_or_else(|| format!("{} is not a number", describe(value)))
    }
}

impl Setting for u32 {
    const ALLOWED: &'static str = "a whole number";

    fn read(value: &Value) -> Result<Self, String> {
        let number = u64::read(value)?;
        Self::try_from(number).map_err(|_| format!("{number} is too large"))
    }
}

impl Setting for usize {
    const ALLOWED: &'static str = "a whole number";

    fn read(value: &Value) -> Result<Self, String> {
        let number = u64::read(value)?;
        Self::try_from(number).map_err(|_| format!("{number} is too large"))
    }
}

impl Setting for Duration {
    const ALLOWED: &'static str = r#"a duration with its unit in quotes, such as "30s", "5m", "1h 30m""#;

    fn read(value: &Value) -> Result<Self, String> {
        if let Value::Integer(number) = value {
            return Err(format!("{number} has no unit"));
        }
        let text = text(value, "a duration")?;
        humantime::parse_duration(text).map_err(|error| format!("{text:?} is not a duration: {error}"))
    }
}

impl Setting for SocketAddr {
    const ALLOWED: &'static str = r#"an address and a port in quotes, such as "127.0.0.1:8443" or "[::]:8443""#;

    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value, "an address and port")?;
        text.parse().map_err(|_| format!("{text:?} is not an address and port"))
    }
}

impl Setting for Algorithm {
    const ALLOWED: &'static str = "ES256, ES384, ES512, EdDSA, RS256, RS384, RS512, PS256, PS384, PS512";

    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value, "an algorithm")?;
        Self::from_name(text).ok_or_else(|| format!("{text:?} is not a supported algorithm"))
    }
}

impl Setting for AuthenticationMethod {
    const ALLOWED: &'static str = "private_key_jwt, client_secret_basic, client_secret_post";

    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value, "a method of client authentication")?;
        Self::from_name(text).ok_or_else(|| format!("{text:?} is not a supported method of client authentication"))
    }
}

impl Setting for GrantType {
    const ALLOWED: &'static str = "client_credentials, urn:ietf:params:oauth:grant-type:token-exchange";

    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value, "a grant")?;
        Self::from_name(text).ok_or_else(|| format!("{text:?} is not a supported grant type"))
    }
}

impl Setting for SystemTime {
    const ALLOWED: &'static str = r#"a time in quotes, such as "2027-01-31T00:00:00Z""#;

    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value, "a time in quotes")?;
        humantime::parse_rfc3339(text).map_err(|error| format!("{text:?} is not a time: {error}"))
    }
}

impl<T: Setting> Setting for Vec<T> {
    const ALLOWED: &'static str = T::ALLOWED;

    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::List(items) => items.iter().map(|item| T::read(&item.value)).collect(),
            // In a variable, commas separate the items of a list.
            Value::Variable(text) => text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| T::read(&Value::Variable(item.to_owned())))
                .collect(),
            Value::Text(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Table(_)
            | Value::Other(_) => Err(format!("{} is not a list", describe(value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn error_names_every_algorithm_that_is_read() {
        let told: BTreeSet<&str> = <Algorithm as Setting>::ALLOWED.split(", ").collect();
        assert_eq!(told, Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect());
        for name in told {
            assert_eq!(Algorithm::read(&Value::Text(name.to_owned())).unwrap().name(), name);
        }
        assert!(Algorithm::read(&Value::Text("HS512".to_owned())).is_err());
    }
}
