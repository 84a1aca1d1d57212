//! Tests that need more than one file of this room.

mod counts;
mod crash;
mod damage;
mod directory;
mod disk;
mod engines;
mod faults;
mod format;
mod ledger;
mod runs;
