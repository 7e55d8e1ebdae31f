//! `token-server serve --check --upgrade`: the changes to the store, without making them.

use std::fs;

use crate::{
    harness::run,
    serve::{Serving, config},
};

#[test]
fn the_changes_to_a_store_are_listed_and_not_made() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    fs::write(home.join("a.toml"), config(home)).unwrap();
    let look = || run(home, &["serve", "--config", "a.toml", "--check", "--upgrade"]);
    let new = look();
    assert_eq!(new.code, 0, "{}", new.stderr);
    assert!(
        new.stdout.contains("The store is new.") && new.stdout.contains("\n  1  Creates the tables.\n"),
        "{}",
        new.stdout
    );
    assert!(new.stdout.ends_with("Nothing was changed.\n"), "{}", new.stdout);
    assert!(!home.join("token-server.db").exists());

    let serving = Serving::start(home);
    let running = look();
    assert_eq!(running.code, 0, "{}", running.stderr);
    assert!(running.stdout.contains("changes nothing in it."), "beside a running server: {}", running.stdout);
    drop(serving);

    // A later version has been here.
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (999, 'later', 1, x'00', 0)";
    add(home, later);
    let newer = look();
    assert_eq!(newer.code, 1, "{}", newer.stdout);
    assert!(newer.stderr.contains("the store has version 999") && newer.stderr.contains("backup"), "{}", newer.stderr);
    let alone = run(home, &["serve", "--config", "a.toml", "--upgrade"]);
    assert_eq!(alone.code, 2, "it needs --check");
}

fn add(home: &std::path::Path, sql: &str) {
    use sqlx::{Connection as _, Executor as _};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let url = format!("sqlite://{}/token-server.db", home.display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))).await.unwrap();
    });
}
