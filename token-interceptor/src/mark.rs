//! The mark of a refusal that the server layer itself made.
//!
//! A client layer may send a call again only if no handler ran. The reason in a status cannot prove that: a
//! handler may judge a second token, or pass on a refusal by the next service. So the server layer marks its
//! own answers, and removes the mark from every answer of the service. The client never resends after an
//! answer without the mark.
//!
//! The mark names the method's path. A program without a server layer may pass on the next service's refusal.
//! The mark then names another method and is ignored.

use http::{HeaderMap, HeaderName, HeaderValue};
use token_proto::token::v1::ErrorReason;

/// The header field of the mark, in the head of an answer or in its trailers.
pub(crate) static HEADER: HeaderName = HeaderName::from_static("token-refused");

/// The time at which the layer refused the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Before the handler, which never ran.
    BeforeHandler,
    /// After the handler began: a call in progress ends with its token.
    AfterHandler,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::BeforeHandler => "before-handler",
            Self::AfterHandler => "after-handler",
        }
    }
}

/// Returns true if a new token for the same audience may help. Only such a refusal is marked.
pub(crate) fn is_renewable(reason: ErrorReason) -> bool {
    matches!(
        reason,
        ErrorReason::TokenInvalid
            | ErrorReason::TokenExpired
            | ErrorReason::TokenRevoked
            | ErrorReason::TokenKeyUnknown
    )
}

/// Marks the layer's own answer to a call of `path`.
pub(crate) fn put(headers: &mut HeaderMap, stage: Stage, path: &str) {
    // A path that is no header value stays unmarked, so the call is not sent again.
    if let Ok(value) = HeaderValue::try_from(format!("{} {path}", stage.name())) {
        headers.insert(&HEADER, value);
    }
}

/// Removes every mark, and returns the stage of the only one that names `path`.
pub(crate) fn take(headers: &mut HeaderMap, path: &str) -> Option<Stage> {
    let mut marks = headers.get_all(&HEADER).iter();
    // Most answers have no mark, and cost one look for it.
    marks.next()?;
    let only = marks.next().is_none();
    let mark = headers.remove(&HEADER).filter(|_| only)?;
    let (stage, marked) = mark.to_str().ok()?.split_once(' ')?;
    let known = [Stage::BeforeHandler, Stage::AfterHandler].into_iter().find(|known| known.name() == stage)?;
    (marked == path).then_some(known)
}

/// Removes every mark: from a handler's answers, and from the answers that a program gets.
pub(crate) fn remove(headers: &mut HeaderMap) {
    headers.remove(&HEADER);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/a.S/Read";

    fn marked(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (HEADER.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_mark_counts_once_and_is_removed() {
        for stage in [Stage::BeforeHandler, Stage::AfterHandler] {
            let mut headers = HeaderMap::new();
            put(&mut headers, stage, PATH);
            assert_eq!(take(&mut headers, PATH), Some(stage));
            assert_eq!(take(&mut headers, PATH), None);
            assert!(headers.is_empty());
        }
    }

    #[test]
    fn a_mark_of_another_method_or_form_counts_for_nothing() {
        for values in [
            &["before-handler /a.S/Write"][..],
            &["before-handler"],
            &["before-handler /a.S/Read "],
            &["Before-Handler /a.S/Read"],
            &["/a.S/Read"],
            &[""],
            &["before-handler /a.S/Read", "before-handler /a.S/Read"],
            &[],
        ] {
            let mut headers = marked(values);
            assert_eq!(take(&mut headers, PATH), None, "{values:?}");
            assert!(headers.is_empty(), "{values:?}");
        }
    }
}
