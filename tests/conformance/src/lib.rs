//! The conformance suite of the layers. `README.md` describes it for the authors of executors.
//!
//! | module | content |
//! |---|---|
//! | `protocol` | the messages between runner and executor, and their framing |
//! | `case` | the cases as they stand in `cases/*.json` |
//! | `annotation` | the descriptors of the cases that bring annotations of their own |
//! | `signature` | the keys, and forged signatures |
//! | `token` | the tokens and key sets of the cases, generated in each run |
//! | `suite` | every case, with its request and its expected result |
//! | `server`, `client` | the Rust executor |
//! | `runner` | the comparison of results with expectations |

pub mod protocol;

mod case;

mod annotation;

mod signature;

mod token;

pub mod suite;

mod server;

mod client;

pub mod executor;

pub mod runner;
