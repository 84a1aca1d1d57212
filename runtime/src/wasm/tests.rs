//! The room's promises, tested with guests written as text.
