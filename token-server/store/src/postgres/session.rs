//! Statements on a PostgreSQL connection.

use async_trait::async_trait;
use sqlx::{
    Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo, types::Oid},
    query::Query,
};
use token_issuer::store::StoreError;

use super::failed;
use crate::{
    gate::Held,
    sql::{Row, Session, Value},
};

/// The type `jsonb`, in PostgreSQL's `pg_type.dat`.
const JSONB: Oid = Oid(3802);
/// The version of the binary form of `jsonb`: `jsonb_recv`.
const JSONB_VERSION: u8 = 1;

#[async_trait]
impl Session for Held<Postgres> {
    async fn rows(&mut self, statement: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        let rows = bound(statement, values).fetch_all(&mut **self).await.map_err(failed)?;
        Ok(rows.into_iter().map(Row::Postgres).collect())
    }

    async fn execute(&mut self, statement: &'static str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        Ok(bound(statement, values).execute(&mut **self).await.map_err(failed)?.rows_affected())
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        (*self).commit().await.map_err(failed)
    }
}

fn bound(statement: &'static str, values: &[Value<'_>]) -> Query<'static, Postgres, PgArguments> {
    values.iter().fold(sqlx::query(statement), |query, value| match value {
        Value::Text(text) => query.bind(text.map(str::to_owned)),
        Value::Integer(number) => query.bind(*number),
        Value::Flag(flag) => query.bind(*flag),
        Value::Bytes(bytes) => query.bind(bytes.to_vec()),
        Value::Json(text) => query.bind(Json((*text).to_owned())),
    })
}

/// A JSON text as `jsonb`.
struct Json(String);

impl Type<Postgres> for Json {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(JSONB)
    }
}

impl Encode<'_, Postgres> for Json {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&[JSONB_VERSION]);
        buffer.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}
