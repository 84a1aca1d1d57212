//! `derive(Aggregate)`: what a module says of itself beside its commands and events.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Expr, ExprLit, Lit, LitBool, LitInt, LitStr, Meta};

use crate::names;

/// What `#[aggregate(…)]` says.
#[derive(Default)]
struct Options {
    aggregate_type: Option<LitStr>,
    version: Option<LitStr>,
    state_version: Option<LitInt>,
    snapshot_every: Option<LitInt>,
    snapshot_format: Option<LitStr>,
    description: Option<LitStr>,
    keep_commands: Option<LitBool>,
}

const KNOWN: &str = "`type`, `version`, `state_version`, `snapshot_every`, `snapshot_format`, `description` and \
                     `keep_commands`";

pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    if !input.generics.params.is_empty() {
        return Err(syn::Error::new_spanned(
            &input.generics,
            "an aggregate has no generic parameters: one type, one state",
        ));
    }
    let options = Options::parse(input)?;
    let Some(aggregate_type) = &options.aggregate_type else {
        let problem =
            "name the aggregate type: #[aggregate(type = \"…\")]. Callers see it in the URL, for ever";
        return Err(syn::Error::new_spanned(&input.ident, problem));
    };
    names::check(&aggregate_type.value(), aggregate_type.span())?;
    if aggregate_type.value().starts_with("annals-") {
        let problem = "type names that begin with `annals-` belong to the server: choose another";
        return Err(syn::Error::new(aggregate_type.span(), problem));
    }

    let name = &input.ident;
    let module_version = match &options.version {
        Some(version) => quote!(#version),
        None => quote!(::core::env!("CARGO_PKG_VERSION")),
    };
    let state_version = positive(options.state_version.as_ref(), "state versions begin at 1")?.unwrap_or(1);
    let snapshot_every = match positive(
        options.snapshot_every.as_ref(),
        "a snapshot every 0 events is none",
    )? {
        Some(every) => quote!(::core::option::Option::Some(#every)),
        None => quote!(::core::option::Option::None),
    };
    let snapshot_format = match &options.snapshot_format {
        None => quote!(Postcard),
        Some(format) => match format.value().as_str() {
            "postcard" => quote!(Postcard),
            "json" => quote!(Json),
            other => {
                let problem =
                    format!("`{other}` is no snapshot format: take \"postcard\" (the default) or \"json\"");
                return Err(syn::Error::new(format.span(), problem));
            }
        },
    };
    let description = match options
        .description
        .as_ref()
        .map(LitStr::value)
        .or_else(|| first_paragraph(input))
    {
        Some(text) => quote!(::core::option::Option::Some(#text)),
        None => quote!(::core::option::Option::None),
    };
    let keep_commands = options.keep_commands.as_ref().is_none_or(LitBool::value);
    Ok(quote! {
        #[automatically_derived]
        impl ::annals_sdk::Aggregate for #name {
            const TYPE: &'static str = #aggregate_type;
            const MODULE_VERSION: &'static str = #module_version;
            const STATE_VERSION: u32 = #state_version;
            const SNAPSHOT_EVERY: ::core::option::Option<u32> = #snapshot_every;
            const SNAPSHOT_FORMAT: ::annals_sdk::SnapshotFormat = ::annals_sdk::SnapshotFormat::#snapshot_format;
            const DESCRIPTION: ::core::option::Option<&'static str> = #description;
            const KEEP_COMMANDS: bool = #keep_commands;
        }
    })
}

impl Options {
    fn parse(input: &DeriveInput) -> syn::Result<Self> {
        let mut options = Self::default();
        for attribute in input
            .attrs
            .iter()
            .filter(|attribute| attribute.path().is_ident("aggregate"))
        {
            attribute.parse_nested_meta(|meta| {
                let key = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
                match key.as_str() {
                    "type" => options.aggregate_type = Some(meta.value()?.parse()?),
                    "version" => options.version = Some(meta.value()?.parse()?),
                    "state_version" => options.state_version = Some(meta.value()?.parse()?),
                    "snapshot_every" => options.snapshot_every = Some(meta.value()?.parse()?),
                    "snapshot_format" => options.snapshot_format = Some(meta.value()?.parse()?),
                    "description" => options.description = Some(meta.value()?.parse()?),
                    "keep_commands" => options.keep_commands = Some(meta.value()?.parse()?),
                    _ => return Err(meta.error(format!("`aggregate` takes {KNOWN}"))),
                }
                Ok(())
            })?;
        }
        Ok(options)
    }
}

fn positive(literal: Option<&LitInt>, problem: &str) -> syn::Result<Option<u32>> {
    let Some(literal) = literal else { return Ok(None) };
    match literal.base10_parse()? {
        0 => Err(syn::Error::new(literal.span(), problem)),
        value => Ok(Some(value)),
    }
}

/// The first paragraph of the doc comment on one line.
fn first_paragraph(input: &DeriveInput) -> Option<String> {
    let lines = input.attrs.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text), ..
            }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    let paragraph: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    (!paragraph.is_empty()).then(|| paragraph.join(" "))
}
