//! Tests that need more than one file of this room.

mod crash;
mod damage;
mod disk;
mod engines;
mod faults;
mod ledger;
