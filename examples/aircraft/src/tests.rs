//! The rules of an aircraft, one test each.

use super::*;
use crate::rules::AIRBORNE_MS_MAX;
use AircraftCommand::{Arrive, Cancel, Depart};
use AircraftEvent::{Arrived, Departed, FlightCancelled, PresumedLanded};

const MINUTE: u64 = 60_000;

fn depart(flight: &str, at: u64) -> AircraftCommand {
    Depart {
        flight: flight.into(),
        from: "EWR".into(),
        to: "IAH".into(),
        at,
    }
}

fn departed(flight: &str, at: u64) -> AircraftEvent {
    Departed {
        flight: flight.into(),
        from: "EWR".into(),
        to: "IAH".into(),
        at,
    }
}

fn arrive(flight: &str, at: u64) -> AircraftCommand {
    Arrive {
        flight: flight.into(),
        airport: "IAH".into(),
        at,
    }
}

fn arrived(flight: &str, at: u64) -> AircraftEvent {
    Arrived {
        flight: flight.into(),
        airport: "IAH".into(),
        at,
    }
}

#[test]
fn it_departs_and_arrives() {
    given_nothing::<Aircraft>()
        .when(depart("UA1", 0))
        .then_events([departed("UA1", 0)])
        .and_when(arrive("UA1", 200 * MINUTE))
        .then_events([arrived("UA1", 200 * MINUTE)])
        .then_view(json!({
            "whereabouts": { "on-the-ground": { "airport": "IAH", "since": 200 * MINUTE } },
            "departures": 1,
            "arrivals": 1,
            "presumed_landings": 0,
            "cancellations": 0,
            "unreported_flights": 0,
            "airborne_ms": 200 * MINUTE,
        }));
}

#[test]
fn it_cannot_depart_while_in_the_air() {
    given::<Aircraft>([departed("UA1", 0)])
        .when(depart("UA2", AIRBORNE_MS_MAX - 1))
        .then_rejected("in-the-air")
        .then_details(json!({ "flight": "UA2", "current": "UA1", "airborne_minutes": 959 }));
}

#[test]
fn an_arrival_that_nobody_reported_is_presumed_after_a_while() {
    given::<Aircraft>([departed("UA1", 0)])
        .when(depart("UA2", AIRBORNE_MS_MAX))
        .then_events([
            PresumedLanded {
                flight: "UA1".into(),
                airport: "IAH".into(),
            },
            departed("UA2", AIRBORNE_MS_MAX),
        ])
        .then_state(|aircraft| aircraft.presumed_landings == 1 && aircraft.unreported_flights == 1);
}

#[test]
fn it_cannot_arrive_without_having_departed() {
    given_nothing::<Aircraft>()
        .when(arrive("UA1", 0))
        .then_rejected("not-in-the-air");
    given::<Aircraft>([departed("UA1", 0), arrived("UA1", 1)])
        .when(arrive("UA1", 2))
        .then_rejected("not-in-the-air");
    given::<Aircraft>([departed("UA1", 0)])
        .when(arrive("UA2", 1))
        .then_rejected("another-flight");
}

#[test]
fn it_may_depart_from_elsewhere_because_other_airports_do_not_report() {
    given::<Aircraft>([departed("UA1", 0), arrived("UA1", 1)])
        .when(depart("UA2", 2))
        .then_accepted()
        .then_state(|aircraft| aircraft.unreported_flights == 1);
    given::<Aircraft>([departed("UA1", 0), arrived("UA1", 1)])
        .when(Depart {
            flight: "UA2".into(),
            from: "IAH".into(),
            to: "EWR".into(),
            at: 2,
        })
        .then_accepted()
        .then_state(|aircraft| aircraft.unreported_flights == 0);
}

#[test]
fn reports_come_in_order() {
    given::<Aircraft>([departed("UA1", 5)])
        .when(arrive("UA1", 4))
        .then_rejected("out-of-order");
    given::<Aircraft>([departed("UA1", 5)])
        .when(depart("UA2", 4))
        .then_rejected("out-of-order");
    given::<Aircraft>([departed("UA1", 5), arrived("UA1", 9)])
        .when(depart("UA2", 8))
        .then_rejected("out-of-order");
}

#[test]
fn a_flight_is_cancelled_before_it_departs() {
    let cancel = |flight: &str| Cancel {
        flight: flight.into(),
        scheduled: 7,
    };
    let cancelled = || FlightCancelled {
        flight: "UA1".into(),
        scheduled: 7,
    };
    given_nothing::<Aircraft>()
        .when(cancel("UA1"))
        .then_events([cancelled()]);
    given::<Aircraft>([departed("UA2", 0)])
        .when(cancel("UA1"))
        .then_events([cancelled()]);
    given::<Aircraft>([departed("UA1", 0)])
        .when(cancel("UA1"))
        .then_rejected("already-departed");
}

#[test]
fn a_flight_leads_elsewhere() {
    given_nothing::<Aircraft>()
        .when(Depart {
            flight: "UA1".into(),
            from: "EWR".into(),
            to: "EWR".into(),
            at: 0,
        })
        .then_rejected("same-airport");
}

#[test]
fn the_wire_names_are_these() {
    let manifest = Manifest::of::<Aircraft>();
    assert_eq!(manifest.aggregate_type, "aircraft");
    assert_eq!(manifest.attribute("snapshot-every"), Some("200"));
    assert_eq!(manifest.command_names(), ["depart", "arrive", "cancel"]);
    let events = [
        ("departed", 1),
        ("arrived", 1),
        ("presumed-landed", 1),
        ("flight-cancelled", 1),
    ];
    assert_eq!(manifest.event_types(), events);
    let codes = [
        "in-the-air",
        "not-in-the-air",
        "another-flight",
        "already-departed",
        "same-airport",
        "out-of-order",
    ];
    assert_eq!(AircraftRejection::CODES, codes);
}
