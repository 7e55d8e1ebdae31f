//! The stores of `token-server`: SQLite, PostgreSQL, and a file that declares all clients. The only package
//! with SQL.
//!
//! The traits are [`token_issuer::store`]'s. Every store passes one contract suite, `tests/store`.
//!
//! The list is in dependency order: a module uses only the modules above it.
//!
//! | part | module |
//! |---|---|
//! | files that only their owner reads | [`private_file`] |
//! | a pool of connections with a queue in front of it | `gate` |
//! | rows, and the values of the issuer | `row` |
//! | the statements, once for both databases | `sql` |
//! | the migrations of the tables | `migration` |
//! | the embedded store | [`sqlite`] |
//! | the store that several replicas share | [`postgres`] |
//! | the store whose clients a file declares | [`DeclaredStore`] |
//! | the URL of a store | [`StoreLocation`] |

pub mod private_file;
mod gate;
mod row;
mod sql;
mod migration;
pub mod sqlite;
pub mod postgres;
mod client_file;
mod location;

pub use client_file::DeclaredStore;
pub use location::{StoreLocation, StoreLocationError, open_state};
pub use migration::{Pending, Upgrade};
pub use postgres::DatabaseUrlError;
