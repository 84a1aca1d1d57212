//! Tests that need more than one file of this room.

mod crash;
mod disk;
mod engines;
mod faults;
mod ledger;
