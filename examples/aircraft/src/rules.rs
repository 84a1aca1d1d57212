//! The rules.

use annals_sdk::prelude::*;

use crate::{Aircraft, AircraftCommand, AircraftEvent, AircraftRejection, Whereabouts};
use AircraftCommand::{Arrive, Cancel, Depart};
use AircraftEvent::{Arrived, Departed, FlightCancelled, PresumedLanded};
use AircraftRejection::{AlreadyDeparted, AnotherFlight, InTheAir, NotInTheAir, OutOfOrder, SameAirport};
use Whereabouts::OnTheGround;

/// No flight lasts as long: the longest of the year 2013, to Honolulu, took 11 hours 35 minutes. Whoever departs
/// after this time has landed before, reported or not.
pub(crate) const AIRBORNE_MS_MAX: u64 = 16 * 60 * 60 * 1000;

type Outcome = Result<Vec<AircraftEvent>, AircraftRejection>;

impl Decide for Aircraft {
    type Command = AircraftCommand;
    type Event = AircraftEvent;
    type Rejection = AircraftRejection;

    fn handle(&self, command: AircraftCommand, _: &Context) -> Outcome {
        match command {
            Depart { flight, from, to, .. } if from == to => Err(SameAirport {
                flight,
                airport: from,
            }),
            Depart { flight, from, to, at } => self.depart(flight, from, to, at),
            Arrive { flight, airport, at } => self.arrive(flight, airport, at),
            Cancel { flight, scheduled } => self.cancel(flight, scheduled),
        }
    }

    fn apply(&mut self, event: AircraftEvent) {
        match event {
            Departed { flight, from, to, at } => {
                let elsewhere = matches!(&self.whereabouts, OnTheGround { airport, .. } if *airport != from);
                self.unreported_flights += u64::from(elsewhere);
                self.departures += 1;
                self.whereabouts = Whereabouts::InTheAir {
                    flight,
                    bound_for: to,
                    since: at,
                };
            }
            Arrived { airport, at, .. } => {
                if let Whereabouts::InTheAir { since, .. } = self.whereabouts {
                    self.airborne_ms += at.saturating_sub(since);
                }
                self.arrivals += 1;
                self.whereabouts = OnTheGround {
                    airport,
                    since: Some(at),
                };
            }
            PresumedLanded { airport, .. } => {
                self.presumed_landings += 1;
                self.whereabouts = OnTheGround { airport, since: None };
            }
            FlightCancelled { .. } => self.cancellations += 1,
        }
    }

    fn invariants(&self) -> Vec<String> {
        let airborne = u64::from(matches!(self.whereabouts, Whereabouts::InTheAir { .. }));
        let landed = self.arrivals + self.presumed_landings;
        if self.departures == landed + airborne {
            return Vec::new();
        }
        vec![format!(
            "{} departures, but {landed} landings and {airborne} in the air",
            self.departures
        )]
    }
}

impl Aircraft {
    fn depart(&self, flight: String, from: String, to: String, at: u64) -> Outcome {
        match &self.whereabouts {
            Whereabouts::InTheAir { since, .. }
            | OnTheGround {
                since: Some(since), ..
            } if at < *since => Err(OutOfOrder {
                flight,
                at,
                last: *since,
            }),
            Whereabouts::InTheAir {
                flight: current,
                since,
                ..
            } if at - since < AIRBORNE_MS_MAX => Err(InTheAir {
                flight,
                current: current.clone(),
                airborne_minutes: (at - since) / 60_000,
            }),
            // The arrival was never reported, and it has landed all the same.
            Whereabouts::InTheAir {
                flight: current,
                bound_for,
                ..
            } => Ok(vec![
                PresumedLanded {
                    flight: current.clone(),
                    airport: bound_for.clone(),
                },
                Departed { flight, from, to, at },
            ]),
            // Where it stands does not matter: see README.md on flights that nobody reports.
            Whereabouts::Unknown | OnTheGround { .. } => Ok(vec![Departed { flight, from, to, at }]),
        }
    }

    fn arrive(&self, flight: String, airport: String, at: u64) -> Outcome {
        match &self.whereabouts {
            Whereabouts::InTheAir {
                flight: current,
                since,
                ..
            } if *current == flight => {
                if at < *since {
                    return Err(OutOfOrder {
                        flight,
                        at,
                        last: *since,
                    });
                }
                Ok(vec![Arrived { flight, airport, at }])
            }
            Whereabouts::InTheAir { flight: current, .. } => Err(AnotherFlight {
                flight,
                current: current.clone(),
            }),
            Whereabouts::Unknown | OnTheGround { .. } => Err(NotInTheAir { flight }),
        }
    }

    /// A cancellation is a matter of the schedule: it is taken wherever the aircraft is, unless it is on that flight.
    fn cancel(&self, flight: String, scheduled: u64) -> Outcome {
        match &self.whereabouts {
            Whereabouts::InTheAir { flight: current, .. } if *current == flight => {
                Err(AlreadyDeparted { flight })
            }
            _ => Ok(vec![FlightCancelled { flight, scheduled }]),
        }
    }
}
