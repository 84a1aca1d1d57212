//! The least and the most that the derives take, in a crate that forbids unsafe code and has no serde of its own.
#![forbid(unsafe_code)]
#![deny(warnings)]

use annals_sdk::prelude::*;

/// A tree of notes.
#[derive(Aggregate, Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[aggregate(
    type = "notes",
    version = "2.0.0",
    state_version = 3,
    snapshot_every = 10,
    snapshot_format = "json",
    description = "Notes.",
    keep_commands = false
)]
#[serde(rename_all = "camelCase")]
pub struct Notes {
    first_note: Option<Note>,
    children: Vec<Self>,
    pair: Pair<u8>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Note {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Pair<T>(T, T);

#[derive(Command)]
pub enum Asked {
    Write(Note),
    WriteMany { notes: Vec<Note>, #[serde(default)] twice: bool },
    Forget {},
    #[command(name = "wipe")]
    WipeAll,
}

#[derive(Event)]
pub enum Happened {
    Written(Note),
    #[event(name = "wiped", schema = 4)]
    AllWiped,
}

#[derive(Rejection)]
pub enum Never {}

impl Decide for Notes {
    type Command = Asked;
    type Event = Happened;
    type Rejection = Never;

    fn handle(&self, command: Asked, _: &Context) -> Result<Vec<Happened>, Never> {
        Ok(match command {
            Asked::Write(note) => vec![Happened::Written(note)],
            Asked::WriteMany { notes, twice } if twice => {
                notes.iter().chain(&notes).cloned().map(Happened::Written).collect()
            }
            Asked::WriteMany { notes, .. } => notes.into_iter().map(Happened::Written).collect(),
            Asked::Forget {} => vec![],
            Asked::WipeAll => vec![Happened::AllWiped],
        })
    }

    fn apply(&mut self, event: Happened) {
        match event {
            Happened::Written(note) => {
                let child = Self { first_note: Some(note), ..Self::default() };
                self.children.push(child);
            }
            Happened::AllWiped => *self = Self::default(),
        }
    }
}

export_aggregate!(Notes);

fn main() {
    let note = || Note { text: None };
    given_nothing::<Notes>()
        .when(Asked::WriteMany { notes: vec![note()], twice: true })
        .then_events([Happened::Written(note()), Happened::Written(note())])
        .then_view(json!({
            "firstNote": null,
            "children": [
                { "firstNote": {}, "children": [], "pair": [0, 0] },
                { "firstNote": {}, "children": [], "pair": [0, 0] }
            ],
            "pair": [0, 0]
        }))
        .and_when(Asked::WipeAll)
        .then_state(|notes| *notes == Notes::default());
    let manifest = Manifest::of::<Notes>();
    assert_eq!(manifest.command_names(), ["write", "write-many", "forget", "wipe"]);
    assert_eq!(manifest.event_types(), [("written", 1), ("wiped", 4)]);
    assert_eq!((manifest.module_version, manifest.state_version), ("2.0.0", 3));
    assert_eq!(manifest.attribute("keep-commands"), Some("false"));
}
