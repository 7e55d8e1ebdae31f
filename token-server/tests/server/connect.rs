//! The Connect protocol: every method of the descriptor set as JSON over HTTP, and the rules of its unary
//! form. <https://connectrpc.com/docs/protocol>

mod alike;
mod calls;
mod table;
mod wire;
