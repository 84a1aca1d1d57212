//! Reads component types without trusting them.
//!
//! Two recursions of the tools that come later have no bottom of their own, and a used-up stack ends the process, which
//! nothing can catch. wasmparser reads types nested in types recursively, three bytes a level. wit-parser, when it
//! decodes a `component-type` section, visits packages along their dependencies and never ends when those form a circle.
//! So nesting is measured here first, with a limit, and packages are put in order by [`PackageOrder`].

use std::collections::{BTreeMap, BTreeSet};

use wasmparser::{
    BinaryReader, BinaryReaderError, ComponentAlias, ComponentExternName, ComponentImport, ComponentType,
    ComponentTypeRef, CoreType,
};

/// Types within types; the contract needs three levels.
const DEPTH_MAX: usize = 32;
/// Bytes by which a type says that it has declarations inside.
const COMPONENT_TYPE: u8 = 0x41;
const INSTANCE_TYPE: u8 = 0x42;

/// What is wrong with a section of types.
#[derive(Debug)]
pub(super) enum TypeProblem {
    Damage(BinaryReaderError),
    /// Types are nested deeper than this.
    Depth(usize),
    /// More declarations than this.
    Declarations(usize),
}

impl From<BinaryReaderError> for TypeProblem {
    fn from(error: BinaryReaderError) -> Self {
        Self::Damage(error)
    }
}

/// Walks over the types of one section, given without its leading count. `on_name` gets the name of each import and
/// export that a type declares, in order.
pub(super) fn walk<'a>(
    section: &'a [u8],
    offset: usize,
    count: u32,
    declarations_max: usize,
    on_name: &mut dyn FnMut(&'a str),
) -> Result<(), TypeProblem> {
    let mut walk = Walk {
        reader: BinaryReader::new(section, offset),
        left: declarations_max,
        declarations_max,
        on_name,
    };
    (0..count).try_for_each(|_| walk.component_type(DEPTH_MAX))
}

struct Walk<'a, 'f> {
    reader: BinaryReader<'a>,
    left: usize,
    declarations_max: usize,
    on_name: &'f mut dyn FnMut(&'a str),
}

impl<'a> Walk<'a, '_> {
    fn component_type(&mut self, depth_left: usize) -> Result<(), TypeProblem> {
        let mut ahead = self.reader.clone();
        if !matches!(ahead.read_u8()?, COMPONENT_TYPE | INSTANCE_TYPE) {
            self.reader.read::<ComponentType<'a>>()?;
            return Ok(());
        }
        self.reader = ahead;
        let depth_left = depth_left.checked_sub(1).ok_or(TypeProblem::Depth(DEPTH_MAX))?;
        let count = self.reader.read_var_u32()?;
        for _ in 0..count {
            self.left = self
                .left
                .checked_sub(1)
                .ok_or(TypeProblem::Declarations(self.declarations_max))?;
            self.declaration(depth_left)?;
        }
        Ok(())
    }

    fn declaration(&mut self, depth_left: usize) -> Result<(), TypeProblem> {
        match self.reader.read_u8()? {
            0x00 => {
                self.reader.read::<CoreType<'a>>()?;
            }
            0x01 => self.component_type(depth_left)?,
            0x02 => {
                self.reader.read::<ComponentAlias<'a>>()?;
            }
            0x03 => {
                let import = self.reader.read::<ComponentImport<'a>>()?;
                (self.on_name)(import.name.name);
            }
            // Exports; anything else is for the validator to explain, once the depth is known to be harmless.
            _ => {
                let name = self.reader.read::<ComponentExternName<'a>>()?;
                self.reader.read::<ComponentTypeRef>()?;
                (self.on_name)(name.name);
            }
        }
        Ok(())
    }
}

/// In which order packages may depend on each other. A type can only use what was declared before it, so as long as each
/// package's interfaces are declared next to each other, a package depends on earlier ones only; two sections must
/// agree about the order.
#[derive(Debug, Default)]
pub(super) struct PackageOrder {
    /// Package, and those that were declared before it.
    before: BTreeMap<String, BTreeSet<String>>,
}

impl PackageOrder {
    /// Adds one section's names, in order of declaration. The error is a package that could depend on itself.
    pub(super) fn add<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
        let mut runs: Vec<String> = Vec::new();
        for package in names.into_iter().filter_map(package) {
            if runs.last() == Some(&package) {
                continue;
            }
            if runs.contains(&package) {
                return Err(package);
            }
            let before = self.before.entry(package.clone()).or_default();
            before.extend(runs.iter().cloned());
            runs.push(package);
        }
        self.check()
    }

    fn check(&self) -> Result<(), String> {
        let mut left = self.before.clone();
        while let Some(first) = left
            .iter()
            .find(|(_, before)| !before.iter().any(|package| left.contains_key(package)))
            .map(|(package, _)| package.clone())
        {
            left.remove(&first);
        }
        left.into_keys().next().map_or(Ok(()), Err)
    }
}

/// `annals:aggregate@0.1.0` of `annals:aggregate/log@0.1.0`; nothing for a plain name.
fn package(name: &str) -> Option<String> {
    let (package, rest) = name.split_once('/')?;
    let version = rest.split_once('@').map_or("", |(_, version)| version);
    Some(format!("{package}@{version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_in_order_are_accepted_and_circles_are_not() {
        let mut order = PackageOrder::default();
        order
            .add(["a:b/x@1.0.0", "plain", "a:b/y@1.0.0", "c:d/x@1.0.0"])
            .unwrap();
        order.add(["a:b/x@1.0.0", "e:f/x"]).unwrap();
        assert_eq!(order.add(["a:b/x", "c:d/x", "a:b/y"]), Err("a:b@".into()));
        let mut order = PackageOrder::default();
        order.add(["a:a/x", "b:b/x"]).unwrap();
        order.add(["b:b/x", "c:c/x"]).unwrap();
        assert!(order.add(["c:c/x", "a:a/x"]).is_err());
    }

    #[test]
    fn nesting_is_limited_without_using_the_stack() {
        let nested = [COMPONENT_TYPE, 1, 0x01].repeat(1_000_000);
        let problem = walk(&nested, 0, 1, 1 << 20, &mut |_| ()).unwrap_err();
        assert!(matches!(problem, TypeProblem::Depth(DEPTH_MAX)), "{problem:?}");
        let wide = [&[COMPONENT_TYPE, 100][..], &[0x01, 0x7f].repeat(100)].concat();
        walk(&wide, 0, 1, 100, &mut |_| ()).unwrap();
        let problem = walk(&wide, 0, 1, 99, &mut |_| ()).unwrap_err();
        assert!(matches!(problem, TypeProblem::Declarations(99)), "{problem:?}");
    }
}
