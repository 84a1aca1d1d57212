//! Tests that need more than one file of this room.

mod consumers;
mod count;
mod counts;
mod crash;
mod damage;
mod directory;
mod disk;
mod engines;
mod faults;
mod format;
mod kinds;
mod late_frees;
mod ledger;
mod runs;
