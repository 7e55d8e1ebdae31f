//! `[quota]`: the number of tokens for a client in each window.

use std::{collections::HashMap, time::Duration};

use super::{
    reader::Section,
    setting::{Setting, describe},
    source::Value,
};

use token_issuer::{
    client::ClientId,
    limit::{Quota, QuotaMode, QuotaSettings},
};

/// Reads `[quota]` and every `[[quota.client]]`.
pub(super) fn read(mut section: Section<'_>) -> QuotaSettings {
    let minute = Duration::from_secs(60);
    let window = section.within("window", QuotaSettings::default().window, minute..=minute * 60 * 24 * 31);
    let tokens = section.or("tokens", 0_u64);
    let mode = section.or("mode", QuotaMode::Observe);
    let default = (tokens > 0).then_some(Quota { tokens, mode });
    let mut clients = HashMap::new();
    for mut own in section.sections("client") {
        let (id, tokens) = (own.required::<ClientId>("id"), own.required::<u64>("tokens"));
        let mode = own.or("mode", mode);
        if let (Some(id), Some(tokens)) = (id, tokens)
            && clients.insert(id, Quota { tokens, mode }).is_some()
        {
            own.reject("id", "the client already has a quota".to_owned(), "each client once");
        }
        own.finish();
    }
    section.finish();
    QuotaSettings { window, default, clients }
}

impl Setting for QuotaMode {
    const ALLOWED: &'static str = r#""observe" or "enforce""#;

    fn read(value: &Value) -> Result<Self, String> {
        match String::read(value)?.as_str() {
            "observe" => Ok(Self::Observe),
            "enforce" => Ok(Self::Enforce),
            _ => Err(format!("{} is not a quota mode", describe(value))),
        }
    }
}

impl Setting for ClientId {
    const ALLOWED: &'static str = "the ID of a client";

    fn read(value: &Value) -> Result<Self, String> {
        let text = String::read(value)?;
        Self::try_from(text.as_str()).map_err(|error| error.to_string())
    }
}
