//! Statements on a SQLite connection.

use async_trait::async_trait;
use sqlx::{Sqlite, query::Query, sqlite::SqliteArguments};
use token_issuer::store::StoreError;

use super::failed;
use crate::{
    gate::Held,
    sql::{Row, Session, Value},
};

#[async_trait]
impl Session for Held<Sqlite> {
    async fn rows(&mut self, statement: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        let rows = bound(statement, values).fetch_all(&mut **self).await.map_err(failed)?;
        Ok(rows.into_iter().map(Row::Sqlite).collect())
    }

    async fn execute(&mut self, statement: &'static str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        Ok(bound(statement, values).execute(&mut **self).await.map_err(failed)?.rows_affected())
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        (*self).commit().await.map_err(failed)
    }
}

fn bound(statement: &'static str, values: &[Value<'_>]) -> Query<'static, Sqlite, SqliteArguments> {
    values.iter().fold(sqlx::query(statement), |query, value| match value {
        Value::Text(text) => query.bind(text.map(str::to_owned)),
        Value::Integer(number) => query.bind(*number),
        Value::Flag(flag) => query.bind(*flag),
        Value::Bytes(bytes) => query.bind(bytes.to_vec()),
        Value::Json(text) => query.bind((*text).to_owned()),
    })
}
