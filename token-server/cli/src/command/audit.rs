//! `token-server audit`: the record of changes in the store.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use token_interceptor::clock::{Clock as _, SystemClock};
use token_proto::admin::v1::{AdminRecord, ListAdminRecordsRequest, ListAdminRecordsResponse};

use super::{
    connection::AdminCall,
    explain,
    failure::Failure,
    output::{Output, note},
    runtime::runtime,
};

/// Shows who changed clients, credentials, keys and revocations, and when.
///
/// Decisions about tokens are in the audit stream: [telemetry] audit.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  token-server audit list
  token-server audit list --resource orders --since 7days
  token-server audit list --actor token-admin --action CreateClient --json
  token-server audit list --since 2026-11-01T00:00:00Z --until 2026-12-01T00:00:00Z --all

The client that the command authenticates as needs the audience m2m.admin.v1 with audit.read.")]
pub(super) struct Audit {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    call: AdminCall,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists changes, the newest first, a page at a time.
    List(List),
}

#[derive(Debug, Args)]
struct List {
    /// Only changes by this client, or by `local:…` for a command on the store itself.
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// Only this method: CreateClient, DistrustSigningKey …
    #[arg(long, value_name = "METHOD")]
    action: Option<String>,
    /// Only changes to this client or key.
    #[arg(long, value_name = "ID")]
    resource: Option<String>,
    /// Only changes since this time: RFC 3339, or how long ago (7days).
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<SystemTime>,
    /// Only changes before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<SystemTime>,
    /// Records on a page, 1000 at most.
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=1000))]
    page_size: i32,
    /// Continue where a page ended, with the same filters.
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    page_token: String,
    /// Print every page.
    #[arg(long)]
    all: bool,
}

impl Audit {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let Self { command: Command::List(list), call } = self;
        runtime()?.block_on(call.run(async {
            let mut service = call.admin().await?.audit();
            let mut request = list.request();
            let mut page = service.list_admin_records(request.clone()).await?.into_inner();
            while list.all && !page.next_page_token.is_empty() {
                request.page_token = std::mem::take(&mut page.next_page_token);
                let more = service.list_admin_records(request.clone()).await?.into_inner();
                page.records.extend(more.records);
                page.next_page_token = more.next_page_token;
            }
            if call.json { Ok(output.json(&as_json(&page))?) } else { show(&page, output) }
        }))
    }
}

impl List {
    fn request(&self) -> ListAdminRecordsRequest {
        let text = |given: &Option<String>| given.clone().unwrap_or_default();
        ListAdminRecordsRequest {
            page_size: if self.all { 1000 } else { self.page_size },
            page_token: self.page_token.clone(),
            actor: text(&self.actor),
            action: text(&self.action),
            resource: text(&self.resource),
            start_time: self.since.map(Into::into),
            end_time: self.until.map(Into::into),
        }
    }
}

/// A time of day, or how long ago.
fn time(text: &str) -> Result<SystemTime, String> {
    time_as_of(text, SystemClock.now())
}

fn time_as_of(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        return Ok(time);
    }
    let ago: Duration = humantime::parse_duration(text)
        .map_err(|_| "neither a time such as 2026-11-01T00:00:00Z nor how long ago, such as 7days".to_owned())?;
    now.checked_sub(ago).ok_or_else(|| "before time began".to_owned())
}

fn when(record: &AdminRecord) -> String {
    record.time.and_then(|time| SystemTime::try_from(time).ok()).map(explain::absolute).unwrap_or_default()
}

fn show(page: &ListAdminRecordsResponse, output: &mut Output) -> Result<(), Failure> {
    let row = |record: &AdminRecord| {
        let AdminRecord { number, time: _, actor, action, resource, request_id, detail, subject, act: _ } =
            record.clone();
        // A person behind the caller.
        let actor = if subject.is_empty() { actor } else { format!("{actor} for {subject}") };
        [number.to_string(), when(record), actor, action, resource, request_id, detail]
    };
    let rows: Vec<_> = page.records.iter().map(row).collect();
    output.table(["NUMBER", "TIME", "ACTOR", "ACTION", "RESOURCE", "REQUEST", "DETAIL"], &rows)?;
    if !page.next_page_token.is_empty() {
        note(format_args!("There are more records: --page-token {}, or --all.", page.next_page_token));
    }
    Ok(())
}

fn as_json(page: &ListAdminRecordsResponse) -> Value {
    let record = |record: &AdminRecord| {
        json!({
            "number": record.number,
            "time": when(record),
            "actor": record.actor,
            "action": record.action,
            "resource": record.resource,
            "request_id": record.request_id,
            "detail": record.detail,
            "subject": record.subject,
            "act": record.act,
        })
    };
    let records: Vec<_> = page.records.iter().map(record).collect();
    json!({ "records": records, "next_page_token": page.next_page_token })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_one_of_day_or_how_long_ago() {
        let day = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400);
        assert_eq!(time("1970-01-02T00:00:00Z").unwrap(), day(1));
        assert_eq!(time_as_of("7days", day(20)).unwrap(), day(13));
        assert!(time("yesterday").is_err());
    }
}
