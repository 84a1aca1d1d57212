//! Events on their way out, of the whole feed and of one aggregate: how they are asked for, and pages, lines and
//! server-sent events.

mod criteria;
mod form;
mod page;
mod place;
mod stream;
mod waiting;

pub(super) use criteria::{Criteria, checked_filter, parsed, time_of};
pub(super) use form::{Form, last_event_id};
pub(super) use page::{CAUGHT_UP, PageAnswer, next_target};
pub(super) use place::{cursor, place, start};
pub(super) use stream::{Order, answer, subscribe};
pub(super) use waiting::{Wait, WaitQuery, first_event, preference_applied, preferred_wait};
