//! The derives of `annals-sdk`. Use them through `annals_sdk::prelude::*`; this crate is not meant to be depended on
//! by itself, and every derive is documented, with an example, where `annals-sdk` re-exports it.

mod aggregate;
mod messages;
mod names;
mod rejection;
mod shadow;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

type Expand = fn(&DeriveInput) -> syn::Result<proc_macro2::TokenStream>;

fn derive(input: TokenStream, expand: Expand) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand(&input)
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// Makes a struct or an enum the state of an aggregate type.
#[proc_macro_derive(Aggregate, attributes(aggregate))]
pub fn derive_aggregate(input: TokenStream) -> TokenStream {
    derive(input, aggregate::expand)
}

/// Makes an enum the commands of an aggregate type.
#[proc_macro_derive(Command, attributes(command, serde, schemars))]
pub fn derive_command(input: TokenStream) -> TokenStream {
    derive(input, messages::expand_command)
}

/// Makes an enum the events of an aggregate type.
#[proc_macro_derive(Event, attributes(event, serde, schemars))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    derive(input, messages::expand_event)
}

/// Makes an enum the rejections of an aggregate type.
#[proc_macro_derive(Rejection, attributes(rejection, serde))]
pub fn derive_rejection(input: TokenStream) -> TokenStream {
    derive(input, rejection::expand)
}

/// serde's `Serialize`, without serde in the author's Cargo.toml.
#[proc_macro_derive(Serialize, attributes(serde))]
pub fn derive_serialize(input: TokenStream) -> TokenStream {
    derive(input, shadow::serialize)
}

/// serde's `Deserialize`, without serde in the author's Cargo.toml.
#[proc_macro_derive(Deserialize, attributes(serde))]
pub fn derive_deserialize(input: TokenStream) -> TokenStream {
    derive(input, shadow::deserialize)
}

/// schemars' `JsonSchema`, without schemars in the author's Cargo.toml.
#[proc_macro_derive(JsonSchema, attributes(serde, schemars))]
pub fn derive_json_schema(input: TokenStream) -> TokenStream {
    derive(input, shadow::json_schema)
}
