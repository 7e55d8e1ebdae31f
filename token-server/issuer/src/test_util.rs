//! Test doubles: a store in memory.

mod memory_store;

pub use memory_store::MemoryStore;
