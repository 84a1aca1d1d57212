//! The structural scan: one pass over an upload, before anything is compiled, that bounds what compiling can cost.
//!
//! wasmtime's compiler is not made for hostile input: single functions of a megabyte, or a hundred thousand empty ones,
//! were measured to take 20 s and 600 MiB. The limits here exclude those shapes. Uploads come in two classes, because a
//! JavaScript or Python guest brings its language's runtime.

use std::ops::Range;

use wasmparser::{Parser, Payload};

use super::{
    type_walk::{TypeProblem, walk},
    upload_error::UploadError,
};
use crate::vocabulary::Limits;

/// Uploads up to this size are ordinary, bytes.
const SMALL_BYTES_MAX: usize = 4 << 20;
const WASM_PAGE_BYTES: u64 = 64 << 10;

/// How large a module is, and so which limits it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// At most 4 MiB: Rust, C, Go and the like.
    Small,
    /// Larger: a module that brings a language runtime, such as JavaScript's or Python's.
    Large,
}

/// What the scan accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanLimits {
    /// Functions in all core modules together.
    pub functions: usize,
    /// Bytes of one function.
    pub function_bytes: usize,
    /// Local variables of one function.
    pub locals: usize,
    /// Bytes of code in all core modules together.
    pub code_bytes: usize,
    /// Bytes of data in all core modules together.
    pub data_bytes: usize,
    /// Memories in all core modules together.
    pub memories: usize,
    /// Bytes that the memory starts with.
    pub memory_bytes: usize,
    /// Tables in all core modules together.
    pub tables: usize,
    /// Elements that a table starts with.
    pub table_elements: usize,
    /// Core modules in the component.
    pub modules: usize,
    /// Instances in the component, of core modules and of components.
    pub instances: usize,
    /// Components within the component.
    pub components: usize,
    /// Types, imports, exports, globals and canonical functions: each kind, all together.
    pub items: usize,
}

impl Class {
    /// The class of an upload of so many bytes.
    #[must_use]
    pub fn of(upload_bytes: usize) -> Self {
        if upload_bytes <= SMALL_BYTES_MAX {
            Self::Small
        } else {
            Self::Large
        }
    }

    /// What the scan accepts.
    #[must_use]
    pub fn scan_limits(self, limits: &Limits) -> ScanLimits {
        let memory_bytes = self.memory_bytes(limits);
        match self {
            Self::Small => ScanLimits {
                functions: 20_000,
                function_bytes: 256 << 10,
                locals: 5_000,
                code_bytes: 4 << 20,
                data_bytes: 8 << 20,
                memories: 1,
                memory_bytes,
                tables: 8,
                table_elements: 20_000,
                modules: 8,
                instances: 32,
                components: 16,
                items: 20_000,
            },
            Self::Large => ScanLimits {
                functions: 100_000,
                function_bytes: 2 << 20,
                locals: 50_000,
                code_bytes: 32 << 20,
                data_bytes: 32 << 20,
                memories: 1,
                memory_bytes,
                tables: 16,
                table_elements: super::engine::TABLE_ELEMENTS_MAX,
                modules: 64,
                instances: 128,
                components: 64,
                items: 200_000,
            },
        }
    }

    /// Linear memory of one cell, bytes: [`Limits::cell_memory_bytes`], four times that with a language runtime.
    #[must_use]
    pub fn memory_bytes(self, limits: &Limits) -> usize {
        match self {
            Self::Small => limits.cell_memory_bytes,
            Self::Large => limits.cell_memory_bytes.saturating_mul(4),
        }
    }

    /// A limit of fuel: ten times as much with a language runtime, which interprets.
    #[must_use]
    pub fn scaled(self, fuel: u64) -> u64 {
        match self {
            Self::Small => fuel,
            Self::Large => fuel.saturating_mul(10),
        }
    }
}

/// Checks that the bytes are whole, and within the limits of their class.
pub(super) fn scan(wasm: &[u8], limits: &ScanLimits) -> Result<(), UploadError> {
    let mut counts = Counts::default();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(|error| UploadError::damaged(wasm.len(), &error))?;
        counts
            .add(&payload, wasm, limits)
            .map_err(|found| found.into_error(wasm.len()))?;
    }
    Ok(())
}

#[derive(Default)]
struct Counts {
    functions: usize,
    code_bytes: usize,
    data_bytes: usize,
    memories: usize,
    tables: usize,
    modules: usize,
    instances: usize,
    components: usize,
    items: usize,
}

enum Found {
    Damage(wasmparser::BinaryReaderError),
    Excess(&'static str, usize, usize),
}

impl Found {
    fn into_error(self, bytes: usize) -> UploadError {
        match self {
            Self::Damage(error) => UploadError::damaged(bytes, &error),
            Self::Excess(what, found, limit) => UploadError::TooComplex { what, found, limit },
        }
    }
}

impl From<wasmparser::BinaryReaderError> for Found {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Damage(error)
    }
}

impl Counts {
    fn add(&mut self, payload: &Payload<'_>, wasm: &[u8], limits: &ScanLimits) -> Result<(), Found> {
        match payload {
            Payload::FunctionSection(section) => {
                self.functions += count(section.count());
                at_most("functions", self.functions, limits.functions)
            }
            Payload::CodeSectionStart { range, .. } => {
                self.code_bytes += length(range);
                at_most("bytes of code", self.code_bytes, limits.code_bytes)
            }
            Payload::CodeSectionEntry(body) => {
                at_most(
                    "bytes in one function",
                    length(&body.range()),
                    limits.function_bytes,
                )?;
                let mut locals = 0usize;
                for group in body.get_locals_reader()? {
                    locals = locals.saturating_add(count(group?.0));
                }
                at_most("local variables in one function", locals, limits.locals)
            }
            Payload::DataSection(section) => {
                self.data_bytes += length(&section.range());
                at_most("bytes of data", self.data_bytes, limits.data_bytes)
            }
            Payload::MemorySection(section) => self.memories(section.clone(), limits),
            Payload::TableSection(section) => self.tables(section.clone(), limits),
            Payload::ModuleSection { .. } => {
                self.modules += 1;
                at_most("core modules", self.modules, limits.modules)
            }
            Payload::ComponentSection { .. } => {
                self.components += 1;
                at_most("nested components", self.components, limits.components)
            }
            Payload::InstanceSection(section) => self.instances(section.count(), limits),
            Payload::ComponentInstanceSection(section) => self.instances(section.count(), limits),
            Payload::ComponentTypeSection(section) => {
                self.items(section.count(), limits)?;
                let range = section.original_position()..section.range().end;
                walk_types(
                    wasm.get(range).unwrap_or_default(),
                    section,
                    limits.items,
                    &mut |_| (),
                )
            }
            Payload::TypeSection(section) => self.items(section.count(), limits),
            Payload::ImportSection(section) => self.items(section.count(), limits),
            Payload::ExportSection(section) => self.items(section.count(), limits),
            Payload::GlobalSection(section) => self.items(section.count(), limits),
            Payload::ElementSection(section) => self.items(section.count(), limits),
            Payload::CoreTypeSection(section) => self.items(section.count(), limits),
            Payload::ComponentAliasSection(section) => self.items(section.count(), limits),
            Payload::ComponentCanonicalSection(section) => self.items(section.count(), limits),
            Payload::ComponentImportSection(section) => self.items(section.count(), limits),
            Payload::ComponentExportSection(section) => self.items(section.count(), limits),
            _ => Ok(()),
        }
    }

    fn memories(
        &mut self,
        section: wasmparser::MemorySectionReader<'_>,
        limits: &ScanLimits,
    ) -> Result<(), Found> {
        self.memories += count(section.count());
        at_most("memories", self.memories, limits.memories)?;
        for memory in section {
            let bytes = memory?.initial.saturating_mul(WASM_PAGE_BYTES);
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            at_most("bytes of memory at the start", bytes, limits.memory_bytes)?;
        }
        Ok(())
    }

    fn tables(
        &mut self,
        section: wasmparser::TableSectionReader<'_>,
        limits: &ScanLimits,
    ) -> Result<(), Found> {
        self.tables += count(section.count());
        at_most("tables", self.tables, limits.tables)?;
        for table in section {
            let elements = usize::try_from(table?.ty.initial).unwrap_or(usize::MAX);
            at_most("elements in one table", elements, limits.table_elements)?;
        }
        Ok(())
    }

    fn instances(&mut self, more: u32, limits: &ScanLimits) -> Result<(), Found> {
        self.instances += count(more);
        at_most("instances", self.instances, limits.instances)
    }

    fn items(&mut self, more: u32, limits: &ScanLimits) -> Result<(), Found> {
        self.items += count(more);
        at_most(
            "types, imports, exports and other items",
            self.items,
            limits.items,
        )
    }
}

/// Walks over the types of a section whose bytes, after its count, are `bytes`.
fn walk_types<'a>(
    bytes: &'a [u8],
    section: &wasmparser::ComponentTypeSectionReader<'_>,
    declarations_max: usize,
    on_name: &mut dyn FnMut(&'a str),
) -> Result<(), Found> {
    let walked = walk(
        bytes,
        section.original_position(),
        section.count(),
        declarations_max,
        on_name,
    );
    walked.map_err(|problem| match problem {
        TypeProblem::Damage(error) => Found::Damage(error),
        TypeProblem::Depth(limit) => Found::Excess("levels of types in types", limit + 1, limit),
        TypeProblem::Declarations(limit) => Found::Excess("declarations in types", limit + 1, limit),
    })
}

/// The names that the types of a component declare, in order.
pub(super) fn declared_names<'a>(
    component: &'a [u8],
    limits: &ScanLimits,
) -> Result<Vec<&'a str>, UploadError> {
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(|error| UploadError::damaged(component.len(), &error))?;
        if let Payload::ComponentTypeSection(section) = payload {
            let range = section.original_position()..section.range().end;
            let bytes = component.get(range).unwrap_or_default();
            walk_types(bytes, &section, limits.items, &mut |name| names.push(name))
                .map_err(|found| found.into_error(component.len()))?;
        }
    }
    Ok(names)
}

fn at_most(what: &'static str, found: usize, limit: usize) -> Result<(), Found> {
    if found > limit {
        Err(Found::Excess(what, found, limit))
    } else {
        Ok(())
    }
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn length(range: &Range<usize>) -> usize {
    range.end.saturating_sub(range.start)
}
