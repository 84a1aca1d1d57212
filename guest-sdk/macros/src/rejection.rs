//! `derive(Rejection)`: a stable code for programs, a message for people, the values that matter as details.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Attribute, Data, DeriveInput, Fields, Ident, LitStr, Token, Variant};

use crate::names::{self, WireName};
use crate::shadow::keep_attributes;

pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        let problem = "a rejection type is an enum with one variant per reason to say no";
        return Err(syn::Error::new_spanned(&input.ident, problem));
    };
    if !input.generics.params.is_empty() {
        return Err(syn::Error::new_spanned(
            &input.generics,
            "a rejection type has no generic parameters",
        ));
    }
    let reasons = data
        .variants
        .iter()
        .map(Reason::parse)
        .collect::<syn::Result<Vec<_>>>()?;
    names::check_distinct(reasons.iter().map(|reason| &reason.code), "rejection(\"…\", code")?;

    let name = &input.ident;
    let codes: Vec<_> = reasons.iter().map(|reason| &reason.code.value).collect();
    let variants: Vec<_> = reasons.iter().map(|reason| reason.variant).collect();
    let messages = reasons.iter().map(Reason::message);
    let details = reasons.iter().map(Reason::details);
    // A type without variants says no to nothing; `match *self {}` is how that is written.
    let subject = if reasons.is_empty() {
        quote!(*self)
    } else {
        quote!(self)
    };
    Ok(quote! {
        #[automatically_derived]
        impl ::annals_sdk::Rejection for #name {
            const CODES: &'static [&'static str] = &[#(#codes),*];
            fn code(&self) -> &'static str {
                match *self { #(Self::#variants { .. } => #codes,)* }
            }
            #[allow(unused_variables, reason = "a message need not name every field")]
            fn message(&self) -> ::std::string::String {
                match #subject { #(#messages)* }
            }
            fn details(&self) -> ::core::option::Option<::std::vec::Vec<u8>> {
                match #subject { #(#details)* }
            }
        }
    })
}

/// One reason to say no.
struct Reason<'a> {
    variant: &'a Ident,
    code: WireName,
    message: LitStr,
    fields: Vec<&'a syn::Field>,
}

impl<'a> Reason<'a> {
    fn parse(variant: &'a Variant) -> syn::Result<Self> {
        let fields = match &variant.fields {
            Fields::Named(fields) => fields.named.iter().collect(),
            Fields::Unit => Vec::new(),
            Fields::Unnamed(fields) => {
                let problem = "name the fields: they become the details of the rejection, as a JSON object";
                return Err(syn::Error::new_spanned(fields, problem));
            }
        };
        let attribute = variant
            .attrs
            .iter()
            .find(|attribute| attribute.path().is_ident("rejection"));
        let Some(attribute) = attribute else {
            let problem = format!(
                "say in words what `{0}` means: #[rejection(\"…\")] {0}",
                variant.ident
            );
            return Err(syn::Error::new_spanned(&variant.ident, problem));
        };
        let (message, code) = parse_attribute(attribute)?;
        let code = WireName::of(&variant.ident, code.as_ref())?;
        Ok(Self {
            variant: &variant.ident,
            code,
            message,
            fields,
        })
    }

    fn names(&self) -> impl Iterator<Item = &'a Ident> {
        self.fields.iter().filter_map(|field| field.ident.as_ref())
    }

    fn message(&self) -> TokenStream {
        let (variant, message, names) = (self.variant, &self.message, self.names());
        quote!(Self::#variant { #(#names),* } => ::std::format!(#message),)
    }

    fn details(&self) -> TokenStream {
        let variant = self.variant;
        if self.fields.is_empty() {
            return quote!(Self::#variant { .. } => ::core::option::Option::None,);
        }
        let code = &self.code.value;
        let names: Vec<_> = self.names().collect();
        let parameters: Vec<_> = (0..names.len())
            .map(|index| format_ident!("__T{index}"))
            .collect();
        let copies = self.fields.iter().zip(&parameters).map(|(field, parameter)| {
            let attributes = keep_attributes(&field.attrs, &["serde"]);
            let name = &field.ident;
            quote!(#(#attributes)* #name: &'a #parameter)
        });
        quote! {
            Self::#variant { #(#names),* } => {
                #[derive(::annals_sdk::__rt::serde::Serialize)]
                #[serde(crate = "::annals_sdk::__rt::serde")]
                struct __Details<'a, #(#parameters),*> { #(#copies),* }
                let details = __Details { #(#names),* };
                ::core::option::Option::Some(::annals_sdk::__rt::encode(#code, &details))
            }
        }
    }
}

/// `#[rejection("message", code = "…")]`.
fn parse_attribute(attribute: &Attribute) -> syn::Result<(LitStr, Option<LitStr>)> {
    attribute.parse_args_with(|input: syn::parse::ParseStream<'_>| {
        if !input.peek(LitStr) {
            return Err(input.error("the message comes first: #[rejection(\"the account is not open\")]"));
        }
        let message = input.parse()?;
        let mut code = None;
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            let key: Ident = input.parse()?;
            if key != "code" {
                return Err(syn::Error::new(
                    key.span(),
                    "`rejection` takes a message and `code`",
                ));
            }
            input.parse::<Token![=]>()?;
            code = Some(input.parse()?);
        }
        Ok((message, code))
    })
}
