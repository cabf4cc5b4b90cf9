//! What a file is to a client: its tag, its type, its properties, its locks. No disk, no HTTP.

pub mod facts;
pub mod kept;
pub mod lock;
pub mod media;
pub mod properties;
