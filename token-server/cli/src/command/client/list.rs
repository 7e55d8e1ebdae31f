//! `client list`: which credentials expire, and which are not used.

use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use token_proto::admin::v1::{Client, Credential};

use super::show;
use crate::command::{
    failure::Failure,
    output::{Output, note},
};

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only clients with a credential that has expired, or that expires within this time.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    expiring: Option<Duration>,
    /// Only clients of which no credential was used within this time. One that was never used counts from its
    /// registration.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    unused: Option<Duration>,
    /// Only clients of which no credential was ever used.
    #[arg(long)]
    never_used: bool,
    /// The order.
    #[arg(long, value_enum, default_value_t = Sort::Id)]
    sort: Sort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// By client ID.
    Id,
    /// The next to expire first. Before it come those whose last end is past.
    Expires,
    /// The longest unused first; those never used before it.
    LastUsed,
}

/// The end and the use of a client's credentials.
pub(super) struct Usage {
    /// The next end of a credential. If all ends are past, it is the last one. So a credential that has
    /// expired does not hide the next to expire.
    pub(super) expires: Option<SystemTime>,
    /// The end of the credential that expires or expired first.
    first_end: Option<SystemTime>,
    /// The last use of any credential.
    pub(super) used: Option<SystemTime>,
}

impl Usage {
    pub(super) fn of(client: &Client, now: SystemTime) -> Self {
        let times = |time: fn(&Credential) -> Option<prost_types::Timestamp>| {
            client.credentials.iter().filter_map(move |credential| SystemTime::try_from(time(credential)?).ok())
        };
        let ends = || times(|credential| credential.expire_time);
        Self {
            expires: ends().filter(|end| *end > now).min().or_else(|| ends().max()),
            first_end: ends().min(),
            used: times(|credential| credential.last_used_time).max(),
        }
    }
}

impl List {
    /// Shows the chosen ones of all clients.
    pub(super) fn run(
        &self,
        all: Vec<Client>,
        now: SystemTime,
        json: bool,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let asks_for_use = self.unused.is_some() || self.never_used;
        let (unrecorded, mut chosen): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|client| asks_for_use && !client.jwks_uri.is_empty());
        if !unrecorded.is_empty() {
            let ids: Vec<_> = unrecorded.iter().map(|client| client.client_id.as_str()).collect();
            note(format_args!("left out, as the use of keys from a jwks_uri is not recorded: {}", ids.join(", ")));
        }
        chosen.retain(|client| self.takes(client, now));
        self.sorted(&mut chosen, now);
        show::clients(&chosen, now, json, output)
    }

    fn sorted(&self, clients: &mut [Client], now: SystemTime) {
        match self.sort {
            Sort::Id => clients.sort_by(|a, b| a.client_id.cmp(&b.client_id)),
            // A client without an end comes last.
            Sort::Expires => clients.sort_by_cached_key(|client| {
                let expires = Usage::of(client, now).expires;
                (expires.is_none(), expires)
            }),
            Sort::LastUsed => clients.sort_by_cached_key(|client| Usage::of(client, now).used),
        }
    }

    fn takes(&self, client: &Client, now: SystemTime) -> bool {
        let Usage { expires: _, first_end, used } = Usage::of(client, now);
        // A period that reaches beyond the clock's range is unlimited.
        let expiring = self.expiring.is_none_or(|within| {
            first_end.is_some_and(|end| now.checked_add(within).is_none_or(|latest| end <= latest))
        });
        let since = used.or_else(|| SystemTime::try_from(client.create_time?).ok());
        let unused = self
            .unused
            .is_none_or(|period| now.checked_sub(period).is_some_and(|start| since.is_none_or(|time| time <= start)));
        expiring && unused && !(self.never_used && used.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;
    const NOW: u64 = 1000 * DAY;

    fn at(day: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(day * DAY)
    }

    /// The days of creation, of the ends and of the last uses.
    fn client(id: &str, created: u64, ends: &[u64], uses: &[u64]) -> Client {
        let end = |day: &u64| Credential { expire_time: Some(at(*day).into()), ..Default::default() };
        let used = |day: &u64| Credential { last_used_time: Some(at(*day).into()), ..Default::default() };
        Client {
            client_id: id.to_owned(),
            create_time: Some(at(created).into()),
            credentials: ends.iter().map(end).chain(uses.iter().map(used)).collect(),
            ..Default::default()
        }
    }

    fn list() -> List {
        List { expiring: None, unused: None, never_used: false, sort: Sort::Id }
    }

    fn days(count: u64) -> Option<Duration> {
        Some(Duration::from_secs(count * DAY))
    }

    fn taken(list: &List) -> Vec<&'static str> {
        let clients = [
            ("forever", client("forever", 1, &[], &[990])),
            ("expired", client("expired", 1, &[999, 2000], &[910])),
            ("soon", client("soon", 1, &[2000, 1014], &[909, 911])),
            ("later", client("later", 1, &[1015], &[910, 5])),
            ("new", client("new", 999, &[], &[])),
            ("forgotten", client("forgotten", 910, &[], &[])),
        ];
        clients.iter().filter(|(_, client)| list.takes(client, at(1000))).map(|(id, _)| *id).collect()
    }

    #[test]
    fn clients_are_chosen_by_end_and_use() {
        assert_eq!(at(1000), SystemTime::UNIX_EPOCH + Duration::from_secs(NOW));
        assert_eq!(taken(&list()).len(), 6);
        assert_eq!(taken(&List { expiring: days(14), ..list() }), ["expired", "soon"]);
        assert_eq!(taken(&List { expiring: days(0), ..list() }), ["expired"]);
        assert_eq!(taken(&List { unused: days(90), ..list() }), ["expired", "later", "forgotten"]);
        assert_eq!(taken(&List { never_used: true, ..list() }), ["new", "forgotten"]);
        assert_eq!(taken(&List { never_used: true, unused: days(90), ..list() }), ["forgotten"]);
        assert_eq!(taken(&List { unused: days(90), expiring: days(14), ..list() }), ["expired"]);
        // Longer than the clock reaches back or ahead.
        let forever = Some(Duration::MAX);
        assert_eq!(taken(&List { unused: forever, ..list() }), [""; 0]);
        assert_eq!(taken(&List { expiring: forever, ..list() }), ["expired", "soon", "later"]);
    }

    #[test]
    fn an_expired_credential_hides_no_next_one() {
        let end = |ends: &[u64]| Usage::of(&client("a", 1, ends, &[]), at(1000)).expires;
        for (ends, expected) in
            [(&[900, 1001, 1100][..], Some(1001)), (&[900, 999], Some(999)), (&[1000], Some(1000)), (&[], None)]
        {
            assert_eq!(end(ends), expected.map(at), "{ends:?}");
        }
    }

    #[test]
    fn clients_are_sorted_by_end_and_by_use() {
        let mut clients = [client("b", 1, &[], &[990]), client("a", 1, &[1005], &[]), client("c", 1, &[999], &[10])];
        let mut order = |sort| {
            let list = List { sort, ..list() };
            list.sorted(&mut clients, at(1000));
            clients.iter().map(|client| client.client_id.clone()).collect::<String>()
        };
        assert_eq!(order(Sort::Expires), "cab");
        assert_eq!(order(Sort::LastUsed), "acb");
        assert_eq!(order(Sort::Id), "abc");
    }
}
