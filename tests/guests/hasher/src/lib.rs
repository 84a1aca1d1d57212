//! A guest that does what none should: it lets a `HashMap` decide the order of its data. What it records depends on how
//! many maps its neighbours have made. The determinism check must see that.

use std::collections::HashMap;

use annals_sdk::prelude::*;

/// A lottery whose draw is in the order of a hash table.
#[derive(Debug, Aggregate, Default, Serialize, Deserialize, JsonSchema)]
#[aggregate(type = "hasher")]
pub struct Hasher {
    names: Vec<String>,
}

/// What can be asked of it.
#[derive(Debug, Command, Serialize, Deserialize, JsonSchema)]
pub enum HasherCommand {
    /// Draws the names in some order.
    Draw {
        /// Whom to draw.
        names: Vec<String>,
    },
}

/// What happened.
#[derive(Debug, Event, Serialize, Deserialize, JsonSchema)]
pub enum HasherEvent {
    /// The order that came out.
    Drawn {
        /// The names in that order.
        names: Vec<String>,
    },
}

/// It never refuses.
#[derive(Debug, Rejection)]
pub enum HasherRejection {
    /// Nobody to draw.
    #[rejection("there is nobody to draw")]
    Nobody,
}

impl Decide for Hasher {
    type Command = HasherCommand;
    type Event = HasherEvent;
    type Rejection = HasherRejection;

    fn handle(&self, command: HasherCommand, _: &Context) -> Result<Vec<HasherEvent>, HasherRejection> {
        let HasherCommand::Draw { names } = command;
        if names.is_empty() {
            return Err(HasherRejection::Nobody);
        }
        let table: HashMap<String, ()> = names.into_iter().map(|name| (name, ())).collect();
        Ok(vec![HasherEvent::Drawn {
            names: table.into_keys().collect(),
        }])
    }

    fn apply(&mut self, event: HasherEvent) {
        let HasherEvent::Drawn { names } = event;
        self.names = names;
    }
}

export_aggregate!(Hasher);
