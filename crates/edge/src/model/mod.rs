//! What a file is to a client: its tag, its type, its properties. No disk, no HTTP.

pub mod facts;
pub mod media;
pub mod properties;
