//! Request parameters by name, from a form or a JSON object alike.
//!
//! RFC 6749 section 3.2: unrecognized ones are ignored, one without a value counts as omitted, and none may be
//! there more than once, but for those that are defined as lists.

use serde_json::{Map, Value};
use token_interceptor::json;

use crate::{
    convert::{ClientForm, TokenQuestionForm},
    error::IssueError,
    form,
};

/// The parameters of one request. Each is taken out once; what is left over at the end was not recognized.
#[derive(Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a body of type `application/x-www-form-urlencoded`.
    pub(super) fn from_form(body: &[u8]) -> Result<Self, IssueError> {
        let pairs = form::pairs(body).collect::<Result<_, _>>();
        pairs.map(Self).map_err(|_| IssueError::invalid_request("The body is not a well-formed form."))
    }

    /// Reads a body of type `application/json`: an object of strings, numbers and lists of strings.
    pub(super) fn from_json(body: &[u8]) -> Result<Self, IssueError> {
        let object = object(body)?;
        let mut pairs = Vec::with_capacity(object.len());
        for (name, value) in object {
            match value {
                Value::String(text) => pairs.push((name, text)),
                Value::Number(number) => pairs.push((name, number.to_string())),
                Value::Array(items) => {
                    let items = items.into_iter().filter_map(|item| match item {
                        Value::String(text) => Some(text),
                        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
                    });
                    pairs.extend(items.map(|item| (name.clone(), item)));
                }
                // Of no use to any parameter: it is either unknown or will be found missing.
                Value::Null | Value::Bool(_) | Value::Object(_) => {}
            }
        }
        Ok(Self(pairs))
    }

    /// A parameter that may be there once.
    pub(super) fn one(&mut self, name: &'static str) -> Result<Option<String>, IssueError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        if self.take(name).is_some() {
            return Err(IssueError::InvalidRequest(format!("{name} is repeated.").into()));
        }
        Ok(Some(value).filter(|value| !value.is_empty()))
    }

    /// A parameter that must be there once.
    pub(super) fn required(&mut self, name: &'static str) -> Result<String, IssueError> {
        self.one(name)?.ok_or_else(|| IssueError::InvalidRequest(format!("{name} is missing.").into()))
    }

    /// A parameter that may be there any number of times; those without a value are left out.
    pub(super) fn list(&mut self, name: &'static str) -> Vec<String> {
        std::iter::from_fn(|| self.take(name)).filter(|value| !value.is_empty()).collect()
    }

    /// What every endpoint that authenticates clients takes.
    pub(super) fn client(&mut self) -> Result<ClientForm, IssueError> {
        Ok(ClientForm {
            client_id: self.one("client_id")?,
            client_secret: self.one("client_secret")?,
            client_assertion_type: self.one("client_assertion_type")?,
            client_assertion: self.one("client_assertion")?,
        })
    }

    /// What the endpoints take that are asked about a token.
    pub(super) fn token_question(mut self) -> Result<TokenQuestionForm, IssueError> {
        Ok(TokenQuestionForm { client: self.client()?, token: self.required("token")? })
    }

    /// The first value of that name that is left.
    fn take(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(place).1)
    }
}

/// The members of a JSON body. None occurs twice: two parsers must not read two different things.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, IssueError> {
    json::object(body)
        .map_err(|_| IssueError::invalid_request("The body is not one JSON object, or a member occurs twice in it."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(body: &str) -> Parameters {
        Parameters::from_form(body.as_bytes()).unwrap()
    }

    #[test]
    fn repeated_parameter_is_refused_also_when_one_is_empty_or_both_are_equal() {
        for body in ["a=1&a=2", "a=1&a=1", "a=&a=1", "a&a", "%61=1&a=1"] {
            assert!(matches!(form(body).one("a"), Err(IssueError::InvalidRequest(_))), "{body}");
        }
    }

    #[test]
    fn parameter_without_a_value_counts_as_omitted() {
        assert_eq!(form("a=&b").one("a").unwrap(), None);
        assert!(form("a=").required("a").is_err());
        assert_eq!(form("a=&a=x").list("a"), ["x"]);
    }

    #[test]
    fn json_members_are_parameters() {
        let mut read = Parameters::from_json(br#"{"a":"1","n":300,"l":["x","y"],"ignored":{"deep":true}}"#).unwrap();
        assert_eq!(read.one("a").unwrap().as_deref(), Some("1"));
        assert_eq!(read.one("n").unwrap().as_deref(), Some("300"));
        assert_eq!(read.list("l"), ["x", "y"]);
        assert_eq!(read.one("ignored").unwrap(), None);
    }

    #[test]
    fn rejects_json_that_repeats_a_member_or_is_no_object() {
        for body in [r#"{"a":"1","a":"2"}"#, "[]", "", "{", "\"a\"", r#"{"a":1} {"#] {
            assert!(Parameters::from_json(body.as_bytes()).is_err(), "{body}");
        }
    }
}
