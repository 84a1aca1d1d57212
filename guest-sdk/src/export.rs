//! Between the contract and the author's aggregate.

use std::cell::RefCell;
use std::marker::PhantomData;

use crate::bindings::annals::aggregate::types as wit;
use crate::bindings::exports::annals::aggregate::{
    aggregate, invariants, manifest, snapshots, turn, upcasting, view,
};
use crate::context::Parts;
use crate::live::{self, Decided, HandleError};
use crate::{Context, Decide, EventError, Manifest, NewEvent, VersionedEvent, log, snapshot};

/// Exports an aggregate as a module: once per crate, at the top level.
///
/// ```
/// use annals_sdk::prelude::*;
///
/// # #[derive(Aggregate, Default, Serialize, Deserialize)] #[aggregate(type = "account")] struct Account;
/// # #[derive(Command)] enum AccountCommand { Open { owner: String }, Close }
/// # #[derive(Event)] enum AccountEvent { Opened { owner: String }, Closed }
/// # #[derive(Rejection)] enum AccountRejection { #[rejection("closed")] Closed }
/// # impl Decide for Account {
/// #     type Command = AccountCommand; type Event = AccountEvent; type Rejection = AccountRejection;
/// #     fn handle(&self, _: AccountCommand, _: &Context) -> Result<Vec<AccountEvent>, AccountRejection> { Ok(vec![]) }
/// #     fn apply(&mut self, _: AccountEvent) {}
/// # }
/// export_aggregate!(Account);
/// # fn main() {}
/// ```
///
/// In native builds, which are for tests, it exports nothing, and only checks that the type can be exported. It works
/// under `#![forbid(unsafe_code)]`.
#[macro_export]
macro_rules! export_aggregate {
    ($aggregate:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type __Module = $crate::__rt::Adapter<$aggregate>;
    $crate::__rt::export_module!(__Module with_types_in $crate::__rt::bindings);
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = $crate::__rt::check_exportable::<$aggregate>();
    };
}

/// Compiles for what can be exported.
pub const fn check_exportable<A: Decide>() {}

/// Gives an author's aggregate the exports of a module.
#[derive(Debug)]
pub struct Adapter<A>(PhantomData<A>);

/// A live aggregate. The host calls one function at a time, so the cell is never borrowed twice.
#[derive(Debug)]
pub struct Live<A>(RefCell<A>);

impl<A: Decide> manifest::Guest for Adapter<A> {
    fn describe() -> manifest::Descriptor {
        log::install_panic_hook();
        let Manifest {
            aggregate_type,
            module_version,
            commands,
            records,
            reads,
            state_version,
            attributes,
        } = Manifest::of::<A>();
        manifest::Descriptor {
            aggregate_type: aggregate_type.to_owned(),
            module_version: module_version.to_owned(),
            payload_encoding: Manifest::PAYLOAD_ENCODING.to_owned(),
            commands: commands
                .into_iter()
                .map(|command| manifest::CommandSchema {
                    name: command.name.to_owned(),
                    json_schema: command.json_schema,
                })
                .collect(),
            records: records
                .into_iter()
                .map(|event| manifest::EventSchema {
                    event_type: event.event_type.to_owned(),
                    schema: event.schema,
                    json_schema: event.json_schema,
                })
                .collect(),
            reads: reads
                .into_iter()
                .map(|(event_type, schema)| (event_type.to_owned(), schema))
                .collect(),
            state_version,
            attributes: attributes
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }
    }
}

impl<A: Decide> aggregate::Guest for Adapter<A> {
    type Instance = Live<A>;
}

impl<A: Decide> aggregate::GuestInstance for Live<A> {
    fn new(_aggregate_id: String) -> Self {
        log::install_panic_hook();
        Self(RefCell::new(A::default()))
    }

    fn handle(
        &self,
        context: wit::Context,
        command: wit::Command,
    ) -> Result<wit::Decision, wit::HandleError> {
        let handled = live::handle(
            &*self.0.borrow(),
            &context.into(),
            &command.name,
            &command.payload,
        );
        let Decided { events, reply } = handled.map_err(wit::HandleError::from)?;
        Ok(wit::Decision { events, reply })
    }

    fn apply(&self, events: Vec<wit::RecordedEvent>) -> Result<(), wit::ApplyError> {
        let mut state = self.0.borrow_mut();
        for event in events {
            let recorded = crate::Recorded {
                version: event.version,
                at: event.recorded_at,
            };
            live::apply(
                &mut *state,
                &event.event_type,
                event.schema,
                &event.payload,
                recorded,
            )
            .map_err(|problem| wit::ApplyError {
                version: event.version,
                problem: problem.into(),
            })?;
        }
        Ok(())
    }
}

impl<A: Decide> snapshots::Guest for Adapter<A> {
    fn save(instance: aggregate::InstanceBorrow<'_>) -> Result<Vec<u8>, String> {
        snapshot::save(&*instance.get::<Live<A>>().0.borrow())
    }

    fn restore(_aggregate_id: String, state: Vec<u8>) -> Result<aggregate::Instance, String> {
        log::install_panic_hook();
        let state: A = snapshot::restore(&state)?;
        Ok(aggregate::Instance::new(Live(RefCell::new(state))))
    }
}

impl<A: Decide> view::Guest for Adapter<A> {
    fn render(instance: aggregate::InstanceBorrow<'_>) -> Result<Option<String>, String> {
        instance.get::<Live<A>>().0.borrow().view().json()
    }
}

impl<A: Decide> invariants::Guest for Adapter<A> {
    fn check(instance: aggregate::InstanceBorrow<'_>) -> Vec<String> {
        instance.get::<Live<A>>().0.borrow().invariants()
    }
}

impl<A: Decide> turn::Guest for Adapter<A> {
    fn decide(instance: aggregate::InstanceBorrow<'_>, request: Vec<u8>) -> Vec<u8> {
        crate::turn::decide(&mut *instance.get::<Live<A>>().0.borrow_mut(), &request)
    }
}

impl<A: Decide> upcasting::Guest for Adapter<A> {
    fn upcast(event: upcasting::VersionedEvent) -> Result<Vec<upcasting::VersionedEvent>, String> {
        log::install_panic_hook();
        let upcasting::VersionedEvent {
            event_type,
            schema,
            payload,
        } = event;
        let events = A::upcast(VersionedEvent {
            event_type,
            schema,
            payload,
        })?;
        let events = events.into_iter().map(
            |VersionedEvent {
                 event_type,
                 schema,
                 payload,
             }| {
                upcasting::VersionedEvent {
                    event_type,
                    schema,
                    payload,
                }
            },
        );
        Ok(events.collect())
    }
}

impl From<wit::Context> for Context {
    fn from(context: wit::Context) -> Self {
        let mut made = Self::from(Parts {
            aggregate_id: &context.aggregate_id,
            version: context.version,
            now: context.now,
            seed: context.seed,
            actor: context.actor.as_deref(),
            command_id: &context.command_id,
            correlation_id: &context.correlation_id,
            causation_id: context.causation_id.as_deref(),
        });
        for (name, value) in &context.attributes {
            made.with_attribute(name, value);
        }
        made
    }
}

impl From<NewEvent> for wit::NewEvent {
    fn from(event: NewEvent) -> Self {
        Self {
            event_type: event.event_type.to_owned(),
            schema: event.schema,
            payload: event.payload,
        }
    }
}

impl From<HandleError> for wit::HandleError {
    fn from(error: HandleError) -> Self {
        match error {
            HandleError::Rejected {
                code,
                message,
                details,
            } => Self::Rejected(wit::Rejection {
                code: code.to_owned(),
                message,
                details,
            }),
            HandleError::UnknownCommand => Self::UnknownCommand,
            HandleError::Malformed(malformed) => Self::MalformedCommand(wit::Malformed {
                pointer: malformed.pointer,
                problem: malformed.problem,
            }),
        }
    }
}

impl From<live::ApplyError> for wit::ApplyProblem {
    fn from(error: live::ApplyError) -> Self {
        match error {
            live::ApplyError::Decode(EventError::Unknown) => Self::UnknownEvent,
            live::ApplyError::Decode(EventError::Malformed(malformed)) => {
                Self::MalformedEvent(malformed.to_string())
            }
            live::ApplyError::Impossible(why) => Self::ImpossibleEvent(why),
        }
    }
}
