//! Request parameters by name, from a form or a JSON object alike.
//!
//! RFC 6749 section 3.2: unrecognized parameters are ignored, and one without a value counts as omitted. None
//! may be repeated, except those that are defined as lists.

use serde_json::{Map, Value};
use token_interceptor::json;
use token_issuer::error::IssueError;

use crate::{
    convert::{ClientForm, TokenQueryForm},
    form,
};

/// The maximum number of parameters in one request, unknown ones included. Three times the longest valid
/// request.
const PAIRS_MAX: usize = 64;

/// Every parameter that an endpoint knows. Others are dropped while reading.
const KNOWN: [Known; 16] = [
    Known::one("grant_type"),
    Known::one("client_id"),
    Known::one("client_secret"),
    Known::one("client_assertion_type"),
    Known::one("client_assertion"),
    Known::list("audience"),
    Known::list("resource"),
    Known::one("scope"),
    Known::one("lifetime"),
    Known::one("redirect_uri"),
    Known::one("subject_token"),
    Known::one("subject_token_type"),
    Known::one("actor_token"),
    Known::one("actor_token_type"),
    Known::one("requested_token_type"),
    Known::one("token"),
];

/// The name of a parameter, and if it is defined as a list.
struct Known {
    name: &'static str,
    list: bool,
}

impl Known {
    const fn one(name: &'static str) -> Self {
        Self { name, list: false }
    }

    const fn list(name: &'static str) -> Self {
        Self { name, list: true }
    }

    fn named(name: &str) -> Option<&'static Self> {
        KNOWN.iter().find(|known| known.name == name)
    }
}

/// The known parameters of one request, at most [`PAIRS_MAX`], in order. Each is taken out once.
#[derive(Default)]
pub(super) struct Parameters(Vec<(&'static str, String)>);

impl Parameters {
    /// Parses a body of type `application/x-www-form-urlencoded`.
    pub(super) fn from_form(body: &[u8]) -> Result<Self, IssueError> {
        Self::from_pairs(form::pairs(body))
    }

    /// Reads each pair of a form once, and none beyond [`PAIRS_MAX`].
    fn from_pairs(pairs: impl Iterator<Item = Result<(String, String), form::Malformed>>) -> Result<Self, IssueError> {
        let mut read = Reading::default();
        for pair in pairs {
            let (name, value) = pair.map_err(|_| IssueError::invalid_request("The body is not a well-formed form."))?;
            if let Some(known) = read.next(&name)? {
                read.take(known, value)?;
            }
        }
        Ok(read.done)
    }

    /// Parses a body of type `application/json`: an object of strings and numbers. A parameter that is
    /// defined as a list may also be a list of strings. `null` counts as omitted.
    pub(super) fn from_json(body: &[u8]) -> Result<Self, IssueError> {
        let mut read = Reading::default();
        for (name, value) in object(body)? {
            let Some(known) = read.next(&name)? else { continue };
            match value {
                Value::Null => {}
                Value::String(text) => read.take(known, text)?,
                Value::Number(number) if !known.list => read.take(known, number.to_string())?,
                Value::Array(items) if known.list => {
                    for item in items {
                        let Value::String(text) = item else { return Err(wrong_type(known)) };
                        // The list was counted as one pair; its items count too.
                        read.count()?;
                        read.take(known, text)?;
                    }
                }
                Value::Array(_) | Value::Number(_) | Value::Bool(_) | Value::Object(_) => {
                    return Err(wrong_type(known));
                }
            }
        }
        Ok(read.done)
    }

    /// Takes out a parameter that may appear once.
    pub(super) fn one(&mut self, name: &'static str) -> Option<String> {
        self.take(name).filter(|value| !value.is_empty())
    }

    /// Takes out a parameter that must appear once.
    pub(super) fn required(&mut self, name: &'static str) -> Result<String, IssueError> {
        self.one(name).ok_or_else(|| IssueError::InvalidRequest(format!("{name} is missing.").into()))
    }

    /// Takes out a parameter that may appear any number of times, without its empty values.
    pub(super) fn list(&mut self, name: &'static str) -> Vec<String> {
        let found = self.0.iter_mut().filter(|(known, value)| *known == name && !value.is_empty());
        found.map(|(_, value)| std::mem::take(value)).collect()
    }

    /// Takes out the parameters of client authentication.
    pub(super) fn client(&mut self) -> ClientForm {
        ClientForm {
            client_id: self.one("client_id"),
            client_secret: self.one("client_secret"),
            client_assertion_type: self.one("client_assertion_type"),
            client_assertion: self.one("client_assertion"),
        }
    }

    /// Takes out the parameters of introspection and revocation.
    pub(super) fn token_query(mut self) -> Result<TokenQueryForm, IssueError> {
        Ok(TokenQueryForm { client: self.client(), token: self.required("token")? })
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.iter_mut().find(|(known, _)| *known == name).map(|(_, value)| std::mem::take(value))
    }
}

/// Parameters being read.
#[derive(Default)]
struct Reading {
    done: Parameters,
    pairs: usize,
}

impl Reading {
    /// Counts a pair and returns its parameter, if known.
    fn next(&mut self, name: &str) -> Result<Option<&'static Known>, IssueError> {
        self.count()?;
        Ok(Known::named(name))
    }

    fn count(&mut self) -> Result<(), IssueError> {
        self.pairs += 1;
        if self.pairs > PAIRS_MAX { Err(IssueError::invalid_request("There are too many parameters.")) } else { Ok(()) }
    }

    /// Keeps a value. RFC 6749 section 3.2: a repeated parameter is an error, even if one of the two is
    /// empty.
    fn take(&mut self, known: &'static Known, value: String) -> Result<(), IssueError> {
        let repeated = self.done.0.iter().any(|(name, _)| *name == known.name);
        if repeated && !known.list {
            return Err(IssueError::InvalidRequest(format!("{} is repeated.", known.name).into()));
        }
        self.done.0.push((known.name, value));
        Ok(())
    }
}

fn wrong_type(known: &Known) -> IssueError {
    let wanted = if known.list { "a string or a list of strings" } else { "one value" };
    IssueError::InvalidRequest(format!("{} must be {wanted}.", known.name).into())
}

/// Parses the members of a JSON body. A duplicate is an error: two parsers could otherwise read different
/// values.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, IssueError> {
    json::object(body)
        .map_err(|_| IssueError::invalid_request("The body is not one JSON object, or it has a duplicate member."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(body: &str) -> Parameters {
        Parameters::from_form(body.as_bytes()).unwrap()
    }

    fn is_invalid_request<T>(read: Result<T, IssueError>) -> bool {
        matches!(read, Err(IssueError::InvalidRequest(_)))
    }

    #[test]
    fn repeated_parameter_is_refused_also_when_empty_or_equal() {
        for body in ["scope=1&scope=2", "scope=1&scope=1", "scope=&scope=1", "scope&scope", "%73cope=1&scope=1"] {
            assert!(is_invalid_request(Parameters::from_form(body.as_bytes())), "{body}");
        }
    }

    #[test]
    fn parameter_without_a_value_counts_as_omitted() {
        assert_eq!(form("scope=&lifetime").one("scope"), None);
        assert!(form("token=").required("token").is_err());
        assert_eq!(form("audience=&audience=x").list("audience"), ["x"]);
    }

    #[test]
    fn lists_keep_their_order_among_other_parameters() {
        let mut read = form("audience=c&scope=s&resource=r&audience=a&unknown=1&audience=b");
        assert_eq!(read.list("audience"), ["c", "a", "b"]);
        assert_eq!(read.list("resource"), ["r"]);
        assert_eq!(read.one("scope").as_deref(), Some("s"));
    }

    /// The cost per pair is constant, and the number of pairs is bounded.
    #[test]
    fn no_pair_is_read_beyond_the_limit_at_any_size() {
        for name in ["audience", "scope2", "client_id"] {
            for size in [1_000, 100_000] {
                let mut taken = 0;
                let pairs = (0..size).map(|_| Ok((name.to_owned(), "x".to_owned()))).inspect(|_| taken += 1);
                assert!(is_invalid_request(Parameters::from_pairs(pairs)), "{name} {size}");
                assert!(taken <= PAIRS_MAX + 1, "{name} {size}: {taken}");
            }
        }
        assert_eq!(form(&"audience=x&".repeat(PAIRS_MAX)).list("audience").len(), PAIRS_MAX);
    }

    #[test]
    fn json_has_no_more_parameters_than_a_form() {
        let list = |items: usize| format!(r#"{{"audience":[{}]}}"#, vec![r#""x""#; items].join(","));
        let members = |count: usize| {
            let members: Vec<_> = (0..count).map(|n| format!(r#""m{n}":1"#)).collect();
            format!("{{{}}}", members.join(","))
        };
        for body in [list(1_000), list(100_000), members(1_000), members(100_000)] {
            assert!(is_invalid_request(Parameters::from_json(body.as_bytes())));
        }
        assert!(Parameters::from_json(list(PAIRS_MAX - 1).as_bytes()).is_ok());
        assert!(Parameters::from_json(members(PAIRS_MAX).as_bytes()).is_ok());
    }

    #[test]
    fn json_members_are_parameters() {
        let mut read =
            Parameters::from_json(br#"{"scope":"1","lifetime":300,"audience":["x","y"],"ignored":{"deep":true}}"#)
                .unwrap();
        assert_eq!(read.one("scope").as_deref(), Some("1"));
        assert_eq!(read.one("lifetime").as_deref(), Some("300"));
        assert_eq!(read.list("audience"), ["x", "y"]);
        assert_eq!(read.one("ignored"), None);
    }

    /// A value of another type must not count as omitted: the client would be granted the defaults.
    #[test]
    fn json_value_of_another_type_is_refused() {
        let wrong = ["[]", r#"["a"]"#, r#"["a","b"]"#, "true", "false", "{}"];
        for known in KNOWN.iter().filter(|known| !known.list) {
            for value in wrong {
                let body = format!(r#"{{"{}":{value}}}"#, known.name);
                assert!(is_invalid_request(Parameters::from_json(body.as_bytes())), "{body}");
            }
        }
        for value in ["1", "true", "{}", "[1]", r#"["a",null]"#, r#"[["a"]]"#] {
            let body = format!(r#"{{"audience":{value}}}"#);
            assert!(is_invalid_request(Parameters::from_json(body.as_bytes())), "{body}");
        }
        assert_eq!(Parameters::from_json(br#"{"scope":null}"#).unwrap().one("scope"), None);
    }

    #[test]
    fn rejects_json_that_repeats_a_member_or_is_no_object() {
        for body in [r#"{"a":"1","a":"2"}"#, "[]", "", "{", "\"a\"", r#"{"a":1} {"#] {
            assert!(Parameters::from_json(body.as_bytes()).is_err(), "{body}");
        }
    }
}
