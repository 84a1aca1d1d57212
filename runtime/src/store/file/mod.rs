//! Files: the data directory as a whole, and one redb database in it.

mod database;
mod directory;
mod fault;
mod files;
mod shadowed;
mod watched;

pub(super) use self::{
    database::{Database, Mode},
    directory::DataDirectory,
    fault::{Fault, WriteFault, guarded},
    files::Files,
};
