//! The URL of a PostgreSQL database in libpq's form, with one or several servers.
//!
//! Errors never contain the URL, as it may hold a password.

use std::{net::IpAddr, str::FromStr as _};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// The reason why a database URL cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseUrlError {
    /// The text is not a PostgreSQL URL.
    #[error("not a PostgreSQL URL; write postgres://user:password@host/database")]
    Malformed,
    /// A delimiter in the user name or the password is not percent-encoded.
    #[error(
        "a character in the user name or password must be percent-encoded: @ as %40, : as %3A, / as %2F, ? as %3F, \
         # as %23, % as %25"
    )]
    NotEncoded,
    /// A query parameter names several hosts.
    #[error("several hosts belong before the path: postgres://user@first:5432,second:5432/database")]
    HostsInParameter,
    /// The URL asks for a server that need not be writable.
    #[error("target_session_attrs must be read-write or primary, as the server writes to its database")]
    NotWritable,
}

/// Returns the servers of a URL, in its order. At least one of them must be writable.
///
/// # Errors
///
/// When the text is not a valid PostgreSQL URL.
pub(crate) fn servers(url: &str) -> Result<Vec<PgConnectOptions>, DatabaseUrlError> {
    let parts = Parts::of(url)?;
    let parameters = parts.parameters()?;
    let servers = parts.hosts.split(',').map(|host| {
        let url = format!("postgres://{}{host}{}{parameters}", parts.user, parts.path);
        // The parser's own error may contain the URL, and with it the password.
        let options = PgConnectOptions::from_str(&url).map_err(|_| DatabaseUrlError::Malformed)?;
        let encrypted = parameters.contains("sslmode=") || parameters.contains("ssl-mode=") || is_local(&options);
        let options = if encrypted { options } else { options.ssl_mode(PgSslMode::VerifyFull) };
        // No startup parameters that a pooler may reject. Time limits are set after connecting.
        Ok(options.application_name("token-server").extra_float_digits(None))
    });
    servers.collect()
}

/// Returns true if the URL holds a password, before the host or in a parameter.
pub(crate) fn has_password(url: &str) -> bool {
    let Ok(parts) = Parts::of(url) else { return url.contains("password") };
    let in_parameters = pairs(parts.query).any(|(name, _)| name.eq_ignore_ascii_case("password"));
    in_parameters || parts.user.split_once(':').is_some_and(|(_, password)| password != "@" && !password.is_empty())
}

/// The parts of a URL, split as in RFC 3986.
struct Parts<'a> {
    /// The user and password with the `@`; empty if there is none.
    user: &'a str,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Result<Self, DatabaseUrlError> {
        let rest = match url.split_once("://") {
            Some(("postgres" | "postgresql", rest)) => rest,
            Some(_) | None => return Err(DatabaseUrlError::Malformed),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let at = authority.matches('@').count();
        // A password contains `@`, or a character that ends the authority.
        if at > 1 || tail.contains('#') || path.contains('@') || (at == 0 && query.contains('@')) {
            return Err(DatabaseUrlError::NotEncoded);
        }
        let (user, hosts) = authority.split_at(authority.find('@').map_or(0, |at| at + 1));
        if !percent_encoded(user) || user.matches(':').count() > 1 {
            return Err(DatabaseUrlError::NotEncoded);
        }
        Ok(Self { user, hosts, path, query })
    }

    /// Returns the query without `target_session_attrs`, which is not a parameter of the connection.
    fn parameters(&self) -> Result<String, DatabaseUrlError> {
        let mut kept = String::new();
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pairs(pair).next().unwrap_or_default();
            match name.as_str() {
                "target_session_attrs" if matches!(value.as_str(), "read-write" | "primary" | "any") => continue,
                "target_session_attrs" => return Err(DatabaseUrlError::NotWritable),
                "host" | "hostaddr" | "port" if value.contains(',') => return Err(DatabaseUrlError::HostsInParameter),
                _ => {}
            }
            kept.push(if kept.is_empty() { '?' } else { '&' });
            kept.push_str(pair);
        }
        Ok(kept)
    }
}

fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    url::form_urlencoded::parse(query.as_bytes()).into_owned()
}

/// Returns true if each `%` begins an escape.
fn percent_encoded(text: &str) -> bool {
    text.split('%')
        .skip(1)
        .all(|after| after.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)))
}

fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> PgSslMode {
        servers(url).unwrap()[0].get_ssl_mode()
    }

    #[test]
    fn a_database_elsewhere_must_show_a_certificate_by_default() {
        assert!(matches!(mode("postgres://u:p@db.example/tokens"), PgSslMode::VerifyFull));
        assert!(matches!(mode("postgres://u:p@db.example/tokens?sslmode=disable"), PgSslMode::Disable));
        assert!(matches!(mode("postgres://u@10.0.0.7/tokens"), PgSslMode::VerifyFull));
        for local in ["localhost", "127.0.0.1", "[::1]"] {
            assert!(!matches!(mode(&format!("postgres://u@{local}/tokens")), PgSslMode::VerifyFull), "{local}");
        }
    }

    /// Each server has its own TLS mode: one local server does not make the others local.
    #[test]
    fn several_hosts_are_several_servers() {
        let url = "postgresql://u:p%40ss@localhost:5433,db.example,[::1]:6/tokens?target_session_attrs=read-write&sslrootcert=/r";
        let servers = servers(url).unwrap();
        let places: Vec<_> = servers.iter().map(|server| (server.get_host(), server.get_port())).collect();
        assert_eq!(places[..2], [("localhost", 5433), ("db.example", 5432)]);
        assert_eq!(places[2].1, 6);
        assert!(servers.iter().all(|server| server.get_database() == Some("tokens") && server.get_username() == "u"));
        assert!(matches!(servers[1].get_ssl_mode(), PgSslMode::VerifyFull));
        assert!(!matches!(servers[0].get_ssl_mode(), PgSslMode::VerifyFull));
    }

    #[test]
    fn a_url_that_cannot_be_used_says_why_without_the_password() {
        use DatabaseUrlError::{HostsInParameter, Malformed, NotEncoded, NotWritable};
        for (url, why) in [
            ("postgres://tok:hunter2@ss/w#rd@127.0.0.1/tokens", NotEncoded),
            ("postgres://tok:hunter2@ss@127.0.0.1/tokens", NotEncoded),
            ("postgres://tok:hunter2/ss@127.0.0.1/tokens", NotEncoded),
            ("postgres://tok:hunter2?ss@127.0.0.1/tokens", NotEncoded),
            ("postgres://tok:hunter2#ss@127.0.0.1/tokens", NotEncoded),
            ("postgres://tok:hunter2:ss@127.0.0.1/tokens", NotEncoded),
            ("postgres://tok:hunter2%@127.0.0.1/tokens", NotEncoded),
            ("postgres://tok:hunter2%zz@127.0.0.1/tokens", NotEncoded),
            ("postgres://u:hunter2@:port/", Malformed),
            ("mysql://u:hunter2@h/d", Malformed),
            ("postgres://u:hunter2@h/d?host=a,b", HostsInParameter),
            ("postgres://u:hunter2@h,i/d?target_session_attrs=standby", NotWritable),
            ("postgres://u:hunter2@h/d?target_session_attrs=prefer-standby", NotWritable),
        ] {
            let error = servers(url).unwrap_err();
            assert_eq!(error, why, "{url}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn a_password_is_found_wherever_it_is_written() {
        for url in [
            "postgres://u:hunter2@h/d",
            "postgresql://u:hunter2@h,i/d?target_session_attrs=read-write",
            "postgres://h/d?user=u&password=hunter2",
            "postgres://h/d?pass%77ord=hunter2",
            "postgres://u@h/d?sslmode=disable&PASSWORD=hunter2",
            "postgres://u:hunter2@ss@h/d?password=x",
        ] {
            assert!(has_password(url), "{url}");
        }
        for url in ["postgres://u@h/d", "postgres://u:@h/d", "postgres://h/d?user=u&sslmode=disable"] {
            assert!(!has_password(url), "{url}");
        }
    }
}
