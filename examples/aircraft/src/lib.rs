//! An aircraft by tail number: it departs, arrives, and has flights cancelled.
//!
//! It refuses what cannot be, and only that. Real reports are incomplete, so the rules are written for what real
//! reports do to them; README.md says which report led to which rule.

#![forbid(unsafe_code)]

mod rules;
#[cfg(test)]
mod tests;

use annals_sdk::prelude::*;

/// An aircraft, known by what was reported of its flights.
#[derive(Debug, Default, Aggregate, Serialize, Deserialize, JsonSchema)]
#[aggregate(type = "aircraft", snapshot_every = 200)]
pub struct Aircraft {
    /// Where it is, as far as reports tell.
    whereabouts: Whereabouts,
    /// Flights that departed.
    departures: u64,
    /// Flights whose arrival was reported.
    arrivals: u64,
    /// Flights whose arrival was never reported.
    presumed_landings: u64,
    /// Flights that were cancelled.
    cancellations: u64,
    /// How often it departed from elsewhere than where it had last arrived: it got there by a flight that nobody
    /// reported.
    unreported_flights: u64,
    /// Time between reported departures and arrivals, in milliseconds.
    airborne_ms: u64,
}

/// Where an aircraft is, as far as reports tell.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Whereabouts {
    /// Nothing was reported yet.
    #[default]
    Unknown,
    /// Under way.
    InTheAir {
        /// The flight, for example `2013-01-01 UA1545`.
        flight: String,
        /// The airport that it is bound for.
        bound_for: String,
        /// When it departed, in milliseconds since the Unix epoch.
        since: u64,
    },
    /// Parked.
    OnTheGround {
        /// The airport.
        airport: String,
        /// When it arrived, in milliseconds since the Unix epoch; none when that was not reported.
        since: Option<u64>,
    },
}

/// What can be reported of an aircraft.
#[derive(Debug, Clone, Command)]
pub enum AircraftCommand {
    /// It departed.
    Depart {
        /// The flight, for example `2013-01-01 UA1545`.
        flight: String,
        /// The airport that it left, for example `EWR`.
        from: String,
        /// The airport that it is bound for.
        to: String,
        /// When, in milliseconds since the Unix epoch.
        at: u64,
    },
    /// It arrived.
    Arrive {
        /// The flight, as it departed.
        flight: String,
        /// The airport.
        airport: String,
        /// When, in milliseconds since the Unix epoch.
        at: u64,
    },
    /// A flight that was planned for it will not take place.
    Cancel {
        /// The flight.
        flight: String,
        /// When it was to depart, in milliseconds since the Unix epoch.
        scheduled: u64,
    },
}

/// What can have happened to an aircraft.
#[derive(Debug, Clone, Event)]
pub enum AircraftEvent {
    /// It departed.
    Departed {
        /// The flight.
        flight: String,
        /// The airport that it left.
        from: String,
        /// The airport that it is bound for.
        to: String,
        /// When, in milliseconds since the Unix epoch.
        at: u64,
    },
    /// It arrived.
    Arrived {
        /// The flight.
        flight: String,
        /// The airport.
        airport: String,
        /// When, in milliseconds since the Unix epoch.
        at: u64,
    },
    /// It must have landed long ago, though nobody reported it.
    PresumedLanded {
        /// The flight.
        flight: String,
        /// Where it was bound for.
        airport: String,
    },
    /// A flight that was planned for it will not take place.
    FlightCancelled {
        /// The flight.
        flight: String,
        /// When it was to depart, in milliseconds since the Unix epoch.
        scheduled: u64,
    },
}

/// Why a report is refused.
#[derive(Debug, Clone, Rejection)]
pub enum AircraftRejection {
    /// It cannot depart while it is under way.
    #[rejection(
        "it cannot depart as {flight}: it is in the air as {current}, for {airborne_minutes} minutes"
    )]
    InTheAir {
        /// The flight that was reported.
        flight: String,
        /// The flight that it is on.
        current: String,
        /// For how long, in minutes.
        airborne_minutes: u64,
    },
    /// It cannot arrive without having departed.
    #[rejection("it cannot arrive as {flight}: it is not in the air")]
    NotInTheAir {
        /// The flight that was reported.
        flight: String,
    },
    /// It arrives as the flight that it departed as.
    #[rejection("it cannot arrive as {flight}: it is in the air as {current}")]
    AnotherFlight {
        /// The flight that was reported.
        flight: String,
        /// The flight that it is on.
        current: String,
    },
    /// A flight cannot be cancelled once it is under way.
    #[rejection("{flight} cannot be cancelled: it is in the air")]
    AlreadyDeparted {
        /// The flight that was reported.
        flight: String,
    },
    /// A flight leads from one airport to another.
    #[rejection("{flight} cannot lead from {airport} to {airport}")]
    SameAirport {
        /// The flight that was reported.
        flight: String,
        /// The airport.
        airport: String,
    },
    /// Reports come in the order of what they report.
    #[rejection("{flight} is reported for {at}, and what was reported last is of {last}, later")]
    OutOfOrder {
        /// The flight that was reported.
        flight: String,
        /// When, in milliseconds since the Unix epoch.
        at: u64,
        /// The time of the last report, in milliseconds since the Unix epoch.
        last: u64,
    },
}

export_aggregate!(Aircraft);
