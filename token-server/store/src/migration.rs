//! The migrations of the tables, once for both databases, and a look at those that a store still needs.
//!
//! A migration runs while servers of the older version use the tables. So it only adds: tables, indices, and
//! columns that have a default or may be null. `tests/store/upgrade.rs` checks that.

use std::{borrow::Cow, collections::BTreeSet};

use sqlx::{
    SqlStr,
    migrate::{Migration, MigrationType, Migrator},
};

/// One migration, in both dialects.
struct Step {
    version: i64,
    /// The name in the table of migrations. It never changes.
    name: &'static str,
    /// The effect, for operators: the added object, and the meaning for a server of the version before.
    sentence: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

/// Reads both files of a migration.
macro_rules! step {
    ($version:literal, $name:literal, $file:literal, $sentence:literal) => {
        Step {
            version: $version,
            name: $name,
            sentence: $sentence,
            sqlite: include_str!(concat!("../migrations/sqlite/", $file, ".sql")),
            postgres: include_str!(concat!("../migrations/postgres/", $file, ".sql")),
        }
    };
}

/// Every migration, in the order of its version.
const STEPS: &[Step] = &[
    step!(1, "init", "0001_init", "Creates the tables."),
    step!(
        2,
        "used assertions",
        "0002_used_assertion",
        "Adds the table of used client assertions. Servers of the version before do not record them."
    ),
    step!(
        3,
        "epoch",
        "0003_epoch",
        "Adds the history's identifier and a mark for each change, so that replicas detect a restore."
    ),
    step!(
        4,
        "revocation owner",
        "0004_revocation_owner",
        "Adds the client of a revoked token, and the table of token lifetimes. Revocations are kept for a day."
    ),
    step!(
        5,
        "registered with",
        "0005_registered_with",
        "Adds an index of clients by their initial access token. PostgreSQL delays changes of clients meanwhile."
    ),
    step!(
        6,
        "federated identity",
        "0006_federated_identity",
        "Adds the index of federated identities. Servers of the version before cannot read a client that has one."
    ),
];

/// The database whose statements are used.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// The migrations for one database.
pub(crate) fn migrator(kind: Kind) -> Migrator {
    let migration = |step: &Step| {
        let sql = match kind {
            Kind::Sqlite => step.sqlite,
            Kind::Postgres => step.postgres,
        };
        let (name, sql) = (Cow::Borrowed(step.name), SqlStr::from_static(sql));
        Migration::new(step.version, name, MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations(STEPS.iter().map(migration).collect())
}

/// The migrations that a store has, as its table of migrations records them, by version.
pub(crate) const APPLIED: &str = "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version";

/// A migration that a store does not have yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The version of the tables after it.
    pub version: i64,
    /// The effect, for operators.
    pub sentence: &'static str,
}

/// The difference between a store's tables and those that this program needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The version of the store's tables. 0 if it has none.
    pub from: i64,
    /// The version that this program needs.
    pub to: i64,
    /// The migrations that a start of the server makes, in their order.
    pub pending: Vec<Pending>,
    /// Versions of the tables that this program does not know. A later program made them. With any, the
    /// server does not start.
    pub unknown: Vec<i64>,
}

impl Upgrade {
    /// Compares the versions that a store has with the steps.
    pub(crate) fn of(applied: &BTreeSet<i64>) -> Self {
        let known: BTreeSet<_> = STEPS.iter().map(|step| step.version).collect();
        let pending = STEPS.iter().filter(|step| !applied.contains(&step.version));
        Self {
            from: applied.last().copied().unwrap_or_default(),
            to: known.last().copied().unwrap_or_default(),
            pending: pending.map(|step| Pending { version: step.version, sentence: step.sentence }).collect(),
            unknown: applied.difference(&known).copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_up_and_each_has_a_sentence() {
        for (number, step) in (1..).zip(STEPS) {
            assert_eq!(step.version, number, "{}", step.name);
            assert!(step.sentence.ends_with('.') && !step.sentence.contains('\n'), "{}", step.name);
        }
    }

    /// An older server keeps its statements while a newer one migrates: nothing that it uses may go away, and
    /// it fills no new column.
    #[test]
    fn migrations_only_add() {
        for step in STEPS {
            for sql in [step.sqlite, step.postgres] {
                let code =
                    sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join(" ");
                for statement in code.to_uppercase().split(';') {
                    for removing in ["DROP ", "RENAME ", "ALTER COLUMN ", "TRUNCATE ", "DELETE FROM "] {
                        assert!(!statement.contains(removing), "{} removes: {statement}", step.name);
                    }
                    let must_be_filled = statement.contains("ADD COLUMN")
                        && statement.contains("NOT NULL")
                        && !statement.contains("DEFAULT");
                    assert!(!must_be_filled, "{}: an older server does not fill it: {statement}", step.name);
                }
            }
        }
    }

    #[test]
    fn an_upgrade_names_what_is_missing_and_what_is_unknown() {
        let upgrade = Upgrade::of(&[1, 2, 99].into());
        assert_eq!(upgrade.pending.first().map(|pending| pending.version), Some(3));
        assert_eq!((upgrade.from, upgrade.unknown), (99, vec![99]));
        let all: BTreeSet<_> = STEPS.iter().map(|step| step.version).collect();
        let upgrade = Upgrade::of(&all);
        assert_eq!((upgrade.pending, upgrade.unknown), (vec![], vec![]));
        assert_eq!(upgrade.from, upgrade.to);
    }
}
