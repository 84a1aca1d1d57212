//! Wire names: what the log and the callers see for ever, so they are checked before anything is built.

use heck::ToKebabCase;
use proc_macro2::Span;
use syn::{Ident, LitStr};

/// The longest wire name, in bytes.
const LENGTH_MAX: usize = 63;

/// A checked wire name and the place in the source that gave it.
#[derive(Clone)]
pub(crate) struct WireName {
    pub(crate) value: String,
    pub(crate) span: Span,
}

impl WireName {
    /// The name of a variant: the explicit one, else the variant in kebab-case.
    pub(crate) fn of(variant: &Ident, explicit: Option<&LitStr>) -> syn::Result<Self> {
        let (value, span) = match explicit {
            Some(literal) => (literal.value(), literal.span()),
            None => (variant.to_string().to_kebab_case(), variant.span()),
        };
        check(&value, span)?;
        Ok(Self { value, span })
    }
}

/// Refuses what is not `[a-z][a-z0-9-]{0,62}`.
pub(crate) fn check(name: &str, span: Span) -> syn::Result<()> {
    let mut bytes = name.bytes();
    let well_formed = bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if well_formed && name.len() <= LENGTH_MAX {
        return Ok(());
    }
    let problem = format!(
        "`{name}` is not a wire name: it must match `[a-z][a-z0-9-]{{0,62}}`, that is, begin with a small letter, \
         go on with small letters, digits and `-`, and have at most {LENGTH_MAX} characters (this has {})",
        name.chars().count()
    );
    Err(syn::Error::new(span, problem))
}

/// Refuses two variants with one name.
pub(crate) fn check_distinct<'a>(
    names: impl IntoIterator<Item = &'a WireName>,
    attribute: &str,
) -> syn::Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name.value.as_str()) {
            let problem = format!(
                "two variants have the wire name `{}`: give one of them another with `#[{attribute} = \"…\")]`",
                name.value
            );
            return Err(syn::Error::new(name.span, problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(variant: &str) -> Result<String, String> {
        WireName::of(&Ident::new(variant, Span::call_site()), None)
            .map(|name| name.value)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_is_the_variant_in_kebab_case() {
        assert_eq!(name_of("Open"), Ok("open".into()));
        assert_eq!(name_of("FlightCancelled"), Ok("flight-cancelled".into()));
        assert_eq!(name_of("Level2Reached"), Ok("level2-reached".into()));
    }

    #[test]
    fn what_is_not_a_wire_name_is_refused() {
        let span = Span::call_site();
        for bad in ["", "Open", "-open", "1st", "öffnen", "a_b", "a b"] {
            assert!(check(bad, span).is_err(), "`{bad}` passed");
        }
        assert!(check(&"a".repeat(63), span).is_ok());
        assert!(check(&"a".repeat(64), span).is_err());
    }
}
