//! `derive(Command)` and `derive(Event)`: each variant gets a payload type of its own, which owns encoding, decoding
//! and the schema, so that a payload is the plain JSON object of the variant's fields.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{Attribute, Data, DeriveInput, Fields, Ident, LitInt, LitStr, Type, Variant};

use crate::names::{self, WireName};
use crate::shadow::{keep_attributes, replace_self};

/// What `#[command(…)]` or `#[event(…)]` says about a variant.
#[derive(Default)]
struct Options {
    name: Option<LitStr>,
    schema: Option<u32>,
}

/// A variant of a command or event enum, understood.
struct Message<'a> {
    variant: &'a Ident,
    name: WireName,
    schema: u32,
    payload: Payload<'a>,
}

/// How a variant carries its fields.
enum Payload<'a> {
    /// `Open { owner: String }` or `Close`: a struct of the same fields is generated.
    Fields {
        ty: Ident,
        definition: TokenStream,
        names: Vec<&'a Ident>,
        braces: bool,
    },
    /// `Open(OpenAccount)`: the author's own type is the payload.
    Own(&'a Type),
}

pub(crate) fn expand_command(input: &DeriveInput) -> syn::Result<TokenStream> {
    let messages = messages(input, "command")?;
    let name = &input.ident;
    let wire: Vec<_> = messages.iter().map(|message| &message.name.value).collect();
    let definitions = messages.iter().map(Message::definition);
    let patterns = messages.iter().map(Message::any_pattern);
    let encode = messages
        .iter()
        .map(|message| message.encode(&quote!(::annals_sdk::__rt::encode)));
    let decode = messages.iter().map(Message::decode);
    let schemas = messages.iter().map(Message::schema_of);
    Ok(quote! {
        const _: () = {
            #(#definitions)*
            #[automatically_derived]
            impl ::annals_sdk::Command for #name {
                const NAMES: &'static [&'static str] = &[#(#wire),*];
                fn name(&self) -> &'static str {
                    match *self { #(#patterns => #wire,)* }
                }
                fn encode(self) -> ::std::vec::Vec<u8> {
                    match self { #(#encode)* }
                }
                fn decode(name: &str, payload: &[u8]) -> ::core::result::Result<Self, ::annals_sdk::CommandError> {
                    match name {
                        #(#wire => { #decode })*
                        _ => ::core::result::Result::Err(::annals_sdk::CommandError::Unknown),
                    }
                }
                fn schemas() -> ::std::vec::Vec<::annals_sdk::CommandSchema> {
                    ::std::vec![#(::annals_sdk::CommandSchema { name: #wire, json_schema: #schemas }),*]
                }
            }
        };
    })
}

pub(crate) fn expand_event(input: &DeriveInput) -> syn::Result<TokenStream> {
    let messages = messages(input, "event")?;
    let name = &input.ident;
    let wire: Vec<_> = messages.iter().map(|message| &message.name.value).collect();
    let versions: Vec<_> = messages.iter().map(|message| message.schema).collect();
    let definitions = messages.iter().map(Message::definition);
    let patterns: Vec<_> = messages.iter().map(Message::any_pattern).collect();
    let encode = messages
        .iter()
        .map(|message| message.encode(&quote!(::annals_sdk::__rt::encode)));
    let decode = messages.iter().map(Message::decode);
    let schemas = messages.iter().map(Message::schema_of);
    Ok(quote! {
        const _: () = {
            #(#definitions)*
            #[automatically_derived]
            impl ::annals_sdk::Event for #name {
                const TYPES: &'static [(&'static str, u32)] = &[#((#wire, #versions)),*];
                fn event_type(&self) -> &'static str {
                    match *self { #(#patterns => #wire,)* }
                }
                fn schema(&self) -> u32 {
                    match *self { #(#patterns => #versions,)* }
                }
                fn encode(self) -> ::std::vec::Vec<u8> {
                    match self { #(#encode)* }
                }
                fn decode(
                    event_type: &str,
                    schema: u32,
                    payload: &[u8],
                ) -> ::core::result::Result<Self, ::annals_sdk::EventError> {
                    match (event_type, schema) {
                        #((#wire, #versions) => { #decode })*
                        _ => ::core::result::Result::Err(::annals_sdk::EventError::Unknown),
                    }
                }
                fn schemas() -> ::std::vec::Vec<::annals_sdk::EventSchema> {
                    ::std::vec![#(
                        ::annals_sdk::EventSchema { event_type: #wire, schema: #versions, json_schema: #schemas }
                    ),*]
                }
            }
        };
    })
}

fn messages<'a>(input: &'a DeriveInput, attribute: &str) -> syn::Result<Vec<Message<'a>>> {
    let Data::Enum(data) = &input.data else {
        let problem = format!("a {attribute} type is an enum with one variant per {attribute}");
        return Err(syn::Error::new_spanned(&input.ident, problem));
    };
    if !input.generics.params.is_empty() {
        let problem =
            format!("a {attribute} type has no generic parameters: its payloads must have one schema each");
        return Err(syn::Error::new_spanned(&input.generics, problem));
    }
    if data.variants.is_empty() {
        let problem = format!(
            "`{}` has no variants: an aggregate needs at least one {attribute}",
            input.ident
        );
        return Err(syn::Error::new_spanned(&input.ident, problem));
    }
    let messages = data
        .variants
        .iter()
        .map(|variant| Message::parse(variant, attribute, &input.ident))
        .collect::<syn::Result<Vec<_>>>()?;
    names::check_distinct(
        messages.iter().map(|message| &message.name),
        &format!("{attribute}(name"),
    )?;
    Ok(messages)
}

impl Options {
    fn parse(attributes: &[Attribute], attribute: &str) -> syn::Result<Self> {
        let mut options = Self::default();
        for found in attributes.iter().filter(|found| found.path().is_ident(attribute)) {
            found.parse_nested_meta(|meta| {
                if meta.path.is_ident("name") {
                    options.name = Some(meta.value()?.parse()?);
                } else if attribute == "event" && meta.path.is_ident("schema") {
                    let literal: LitInt = meta.value()?.parse()?;
                    let schema = literal.base10_parse()?;
                    if schema == 0 {
                        return Err(syn::Error::new(literal.span(), "schema versions begin at 1"));
                    }
                    options.schema = Some(schema);
                } else {
                    let known = if attribute == "event" {
                        "`name` and `schema`"
                    } else {
                        "`name`"
                    };
                    return Err(meta.error(format!("`{attribute}` takes {known} here")));
                }
                Ok(())
            })?;
        }
        Ok(options)
    }
}

impl<'a> Message<'a> {
    fn parse(variant: &'a Variant, attribute: &str, owner: &Ident) -> syn::Result<Self> {
        let options = Options::parse(&variant.attrs, attribute)?;
        let name = WireName::of(&variant.ident, options.name.as_ref())?;
        let payload = Payload::parse(variant, &name.value, owner)?;
        Ok(Self {
            variant: &variant.ident,
            name,
            schema: options.schema.unwrap_or(1),
            payload,
        })
    }

    fn definition(&self) -> TokenStream {
        match &self.payload {
            Payload::Fields { definition, .. } => definition.clone(),
            Payload::Own(_) => TokenStream::new(),
        }
    }

    fn any_pattern(&self) -> TokenStream {
        let variant = self.variant;
        quote!(Self::#variant { .. })
    }

    fn encode(&self, with: &TokenStream) -> TokenStream {
        let variant = self.variant;
        let name = &self.name.value;
        match &self.payload {
            Payload::Fields { ty, names, .. } => quote! {
                Self::#variant { #(#names),* } => #with(#name, &#ty { #(#names),* }),
            },
            Payload::Own(_) => quote!(Self::#variant(payload) => #with(#name, &payload),),
        }
    }

    fn decode(&self) -> TokenStream {
        let variant = self.variant;
        match &self.payload {
            Payload::Fields {
                ty, names, braces, ..
            } => {
                let made = if *braces {
                    quote!(Self::#variant { #(#names: payload.#names),* })
                } else {
                    quote!(Self::#variant)
                };
                let binding = if names.is_empty() {
                    quote!(_)
                } else {
                    quote!(payload)
                };
                quote! {
                    let #binding = ::annals_sdk::__rt::decode_object::<#ty>(payload)?;
                    ::core::result::Result::Ok(#made)
                }
            }
            Payload::Own(ty) => quote! {
                ::core::result::Result::Ok(Self::#variant(::annals_sdk::__rt::decode_any::<#ty>(payload)?))
            },
        }
    }

    fn schema_of(&self) -> TokenStream {
        match &self.payload {
            Payload::Fields { ty, .. } => quote!(::annals_sdk::__rt::json_schema::<#ty>()),
            Payload::Own(ty) => quote!(::annals_sdk::__rt::json_schema::<#ty>()),
        }
    }
}

impl<'a> Payload<'a> {
    fn parse(variant: &'a Variant, wire: &str, owner: &Ident) -> syn::Result<Self> {
        let fields = match &variant.fields {
            Fields::Unnamed(fields) => {
                if let (1, Some(field)) = (fields.unnamed.len(), fields.unnamed.first()) {
                    return Ok(Self::Own(&field.ty));
                }
                let problem =
                    "name the fields: a payload is a JSON object, and its keys are the names of the fields";
                return Err(syn::Error::new_spanned(fields, problem));
            }
            Fields::Named(fields) => fields.named.iter().collect(),
            Fields::Unit => Vec::new(),
        };
        let ty = format_ident!("__{}", variant.ident);
        let docs = keep_attributes(&variant.attrs, &["doc"]);
        let replacement = owner.to_token_stream();
        let names: Vec<_> = fields.iter().filter_map(|field| field.ident.as_ref()).collect();
        let copies = fields.iter().map(|field| {
            let attributes = keep_attributes(&field.attrs, &["serde", "schemars", "doc"]);
            let name = &field.ident;
            let ty = replace_self(field.ty.to_token_stream(), &replacement);
            quote!(#(#attributes)* #name: #ty)
        });
        let definition = quote! {
            #[derive(
                ::annals_sdk::__rt::serde::Serialize,
                ::annals_sdk::__rt::serde::Deserialize,
                ::annals_sdk::__rt::schemars::JsonSchema,
            )]
            #[serde(crate = "::annals_sdk::__rt::serde", deny_unknown_fields)]
            #[schemars(crate = "::annals_sdk::__rt::schemars", rename = #wire)]
            #[allow(non_camel_case_types, reason = "named after the variant, out of the way of the author's names")]
            #(#docs)*
            struct #ty { #(#copies),* }
        };
        Ok(Self::Fields {
            ty,
            definition,
            names,
            braces: matches!(variant.fields, Fields::Named(_)),
        })
    }
}
