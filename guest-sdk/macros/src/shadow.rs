//! `Serialize`, `Deserialize` and `JsonSchema` without serde and schemars in the author's Cargo.toml.
//!
//! serde's own derive names the crate `serde`, which only a direct dependency provides, unless every type says
//! `#[serde(crate = "…")]`. So the derive is put on a copy of the type (serde calls it a remote definition), which can
//! carry that attribute, and the type itself delegates to its copy.

use proc_macro2::{Group, Ident, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::{Attribute, Data, DeriveInput, Fields, GenericParam, Generics, parse_quote};

/// Keeps of an item's attributes those that the inner derive understands.
pub(crate) fn keep_attributes(attributes: &[Attribute], names: &[&str]) -> Vec<Attribute> {
    attributes
        .iter()
        .filter(|attribute| names.iter().any(|name| attribute.path().is_ident(name)))
        .cloned()
        .collect()
}

pub(crate) fn serialize(input: &DeriveInput) -> syn::Result<TokenStream> {
    let (shadow, definition) = remote(input, &["serde"], &quote!(::annals_sdk::__rt::serde::Serialize))?;
    let generics = bounded(&input.generics, &quote!(::annals_sdk::__rt::serde::Serialize));
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let turbofish = type_generics.as_turbofish();
    let name = &input.ident;
    Ok(quote! {
        const _: () = {
            #definition
            #[automatically_derived]
            impl #impl_generics ::annals_sdk::__rt::serde::Serialize for #name #type_generics #where_clause {
                fn serialize<__S>(&self, serializer: __S) -> ::core::result::Result<__S::Ok, __S::Error>
                where __S: ::annals_sdk::__rt::serde::Serializer {
                    #shadow #turbofish ::serialize(self, serializer)
                }
            }
        };
    })
}

pub(crate) fn deserialize(input: &DeriveInput) -> syn::Result<TokenStream> {
    if let Some(lifetime) = input.generics.lifetimes().next() {
        return Err(syn::Error::new_spanned(
            lifetime,
            "a state or payload owns its data: use `String`, not `&str`",
        ));
    }
    let (shadow, definition) = remote(input, &["serde"], &quote!(::annals_sdk::__rt::serde::Deserialize))?;
    let bound = quote!(::annals_sdk::__rt::serde::de::DeserializeOwned);
    let mut generics = bounded(&input.generics, &bound);
    let (_, type_generics, _) = input.generics.split_for_impl();
    generics.params.insert(0, parse_quote!('de));
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let turbofish = type_generics.as_turbofish();
    let name = &input.ident;
    Ok(quote! {
        const _: () = {
            #definition
            #[automatically_derived]
            impl #impl_generics ::annals_sdk::__rt::serde::Deserialize<'de> for #name #type_generics #where_clause {
                fn deserialize<__D>(deserializer: __D) -> ::core::result::Result<Self, __D::Error>
                where __D: ::annals_sdk::__rt::serde::Deserializer<'de> {
                    #shadow #turbofish ::deserialize(deserializer)
                }
            }
        };
    })
}

pub(crate) fn json_schema(input: &DeriveInput) -> syn::Result<TokenStream> {
    let name = &input.ident;
    let shadow = format_ident!("__{name}");
    let kept = keep_attributes(&input.attrs, &["serde", "schemars", "doc"]);
    let renamed = kept
        .iter()
        .any(|attribute| mentions(&attribute.to_token_stream(), "rename"));
    let rename = (!renamed).then(|| {
        let title = name.to_string();
        quote!(, rename = #title)
    });
    let body = copy_of(input, &shadow, &["serde", "schemars", "doc"])?;
    let generics = bounded(&input.generics, &quote!(::annals_sdk::__rt::schemars::JsonSchema));
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    Ok(quote! {
        const _: () = {
            #[derive(::annals_sdk::__rt::schemars::JsonSchema)]
            #[schemars(crate = "::annals_sdk::__rt::schemars" #rename)]
            #(#kept)*
            #body
            #[automatically_derived]
            impl #impl_generics ::annals_sdk::__rt::schemars::JsonSchema for #name #type_generics #where_clause {
                fn inline_schema() -> bool {
                    <#shadow #type_generics as ::annals_sdk::__rt::schemars::JsonSchema>::inline_schema()
                }
                fn schema_name() -> ::std::borrow::Cow<'static, str> {
                    <#shadow #type_generics as ::annals_sdk::__rt::schemars::JsonSchema>::schema_name()
                }
                fn schema_id() -> ::std::borrow::Cow<'static, str> {
                    <#shadow #type_generics as ::annals_sdk::__rt::schemars::JsonSchema>::schema_id()
                }
                fn json_schema(
                    generator: &mut ::annals_sdk::__rt::schemars::SchemaGenerator,
                ) -> ::annals_sdk::__rt::schemars::Schema {
                    <#shadow #type_generics as ::annals_sdk::__rt::schemars::JsonSchema>::json_schema(generator)
                }
            }
        };
    })
}

/// The copy of a type that carries one of serde's derives, and its name.
fn remote(input: &DeriveInput, keep: &[&str], derive: &TokenStream) -> syn::Result<(Ident, TokenStream)> {
    let name = &input.ident;
    let shadow = format_ident!("__{name}");
    let remote = name.to_string();
    let kept = keep_attributes(&input.attrs, keep);
    let body = copy_of(input, &shadow, keep)?;
    let definition = quote! {
        #[derive(#derive)]
        #[serde(crate = "::annals_sdk::__rt::serde", remote = #remote)]
        #(#kept)*
        #body
    };
    Ok((shadow, definition))
}

/// The same fields or variants under another name, `Self` spelled out.
fn copy_of(input: &DeriveInput, shadow: &Ident, keep: &[&str]) -> syn::Result<TokenStream> {
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    let name = &input.ident;
    let replacement = quote!(#name #type_generics);
    let body = match &input.data {
        Data::Struct(data) => {
            let fields = copy_of_fields(&data.fields, keep, &replacement);
            let end = (!matches!(data.fields, Fields::Named(_))).then(|| quote!(;));
            quote!(struct #shadow #impl_generics #where_clause #fields #end)
        }
        Data::Enum(data) => {
            let variants = data.variants.iter().map(|variant| {
                let attributes = keep_attributes(&variant.attrs, keep);
                let fields = copy_of_fields(&variant.fields, keep, &replacement);
                let name = &variant.ident;
                quote!(#(#attributes)* #name #fields)
            });
            quote!(enum #shadow #impl_generics #where_clause { #(#variants),* })
        }
        Data::Union(_) => {
            return Err(syn::Error::new_spanned(
                name,
                "a union cannot be derived: use a struct or an enum",
            ));
        }
    };
    Ok(quote! {
        #[allow(dead_code, non_camel_case_types, reason = "a copy that exists for its derive")]
        #body
    })
}

fn copy_of_fields(fields: &Fields, keep: &[&str], replacement: &TokenStream) -> TokenStream {
    let copies = fields.iter().map(|field| {
        let attributes = keep_attributes(&field.attrs, keep);
        let name = field.ident.as_ref().map(|name| quote!(#name:));
        let ty = replace_self(field.ty.to_token_stream(), replacement);
        quote!(#(#attributes)* #name #ty)
    });
    match fields {
        Fields::Named(_) => quote!({ #(#copies),* }),
        Fields::Unnamed(_) => quote!((#(#copies),*)),
        Fields::Unit => TokenStream::new(),
    }
}

/// In the copy `Self` would mean the copy.
pub(crate) fn replace_self(tokens: TokenStream, replacement: &TokenStream) -> TokenStream {
    tokens
        .into_iter()
        .map(|token| match token {
            TokenTree::Ident(ident) if ident == "Self" => replacement.clone(),
            TokenTree::Group(group) => {
                let inner = Group::new(group.delimiter(), replace_self(group.stream(), replacement));
                TokenTree::Group(inner).into()
            }
            other => other.into(),
        })
        .collect()
}

fn mentions(tokens: &TokenStream, word: &str) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == word,
        TokenTree::Group(group) => mentions(&group.stream(), word),
        _ => false,
    })
}

fn bounded(generics: &Generics, bound: &TokenStream) -> Generics {
    let mut generics = generics.clone();
    for parameter in &mut generics.params {
        if let GenericParam::Type(parameter) = parameter {
            parameter.bounds.push(parse_quote!(#bound));
            parameter.default = None;
        }
    }
    generics
}
