//! Bytes on the wire and what they mean: frames, JSON, requests, replies, messages of replicas.

pub mod cells;
pub mod frame;
pub mod json;
mod number;
pub mod part;
pub mod peer;
pub mod received;
pub mod recent;
pub mod request;
pub(in crate::core) mod scanner;
pub mod text;
mod usual;
