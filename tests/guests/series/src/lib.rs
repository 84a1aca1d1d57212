//! A guest with a large state: it keeps every measurement that was ever taken. With a million of ten digits it is saved, and
//! read, as 11 MB of JSON.

use annals_sdk::prelude::*;

/// Measurements, in the order in which they were taken.
#[derive(Debug, Aggregate, Default, Serialize, Deserialize, JsonSchema)]
#[aggregate(type = "series")]
pub struct Series {
    values: Vec<u64>,
}

/// What can be asked of it.
#[derive(Debug, Command, Serialize, Deserialize, JsonSchema)]
pub enum SeriesCommand {
    /// Takes a measurement.
    Measure {
        /// What was measured.
        value: u64,
    },
}

/// What happened.
#[derive(Debug, Event, Serialize, Deserialize, JsonSchema)]
pub enum SeriesEvent {
    /// A measurement was taken.
    Measured {
        /// What was measured.
        value: u64,
    },
}

/// It refuses what was not measured.
#[derive(Debug, Rejection)]
pub enum SeriesRejection {
    /// Nothing is measured as nothing.
    #[rejection("0 is no measurement")]
    Nothing,
}

impl Decide for Series {
    type Command = SeriesCommand;
    type Event = SeriesEvent;
    type Rejection = SeriesRejection;

    fn handle(&self, command: SeriesCommand, _: &Context) -> Result<Vec<SeriesEvent>, SeriesRejection> {
        let SeriesCommand::Measure { value } = command;
        if value == 0 {
            return Err(SeriesRejection::Nothing);
        }
        Ok(vec![SeriesEvent::Measured { value }])
    }

    fn apply(&mut self, event: SeriesEvent) {
        let SeriesEvent::Measured { value } = event;
        self.values.push(value);
    }
}

export_aggregate!(Series);
