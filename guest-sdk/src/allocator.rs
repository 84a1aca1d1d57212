//! The memory of a module: small blocks come from lists of free ones, by size.
//!
//! A command makes and frees two or three dozen small blocks: each text of its context is one. The standard library's
//! allocator searches, splits and joins for each; that was half of a small module's time. A list gives and takes in a
//! few instructions.
//!
//! What a list has taken it keeps for blocks of the same size. So a module holds at most the sum of what each size
//! needed when it needed most, and the larger blocks, which are the standard library's business as before.

#![allow(unsafe_code, reason = "an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;

/// Sizes are multiples of it, and every block is aligned to it.
const STEP: usize = 16;
/// The largest block of a list, bytes: most nodes of a `BTreeMap`, most texts and payloads.
const SMALL_MAX: usize = 512;
/// What is asked for at once when a list is empty, bytes.
const CHUNK: usize = 4096;
const LISTS: usize = SMALL_MAX / STEP;

/// Small blocks, by size.
#[derive(Debug)]
struct Lists {
    /// The first free block of each size. A free block begins with the address of the next one.
    free: [Cell<*mut u8>; LISTS],
    /// What is left of the last chunk.
    rest: Cell<*mut u8>,
    rest_bytes: Cell<usize>,
}

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static MEMORY: Lists = Lists::new();

// SAFETY: a module has one thread: with the `atomics` feature this file is not part of it.
#[cfg(target_arch = "wasm32")]
unsafe impl Sync for Lists {}

// SAFETY: a block of a list is its size, rounded up to `STEP`, of a chunk that is never given back, aligned to `STEP`; it
// is in its list or in use, never both. All others are the system's, and are told from them by their layout.
unsafe impl GlobalAlloc for Lists {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(list) = self.list(layout) else {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        };
        let first = list.get();
        if first.is_null() {
            return self.carve(layout.size().next_multiple_of(STEP));
        }
        // SAFETY: a free block begins with the address of the next one.
        list.set(unsafe { first.cast::<*mut u8>().read() });
        first
    }

    #[inline(always)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(list) = self.list(layout) else {
            // SAFETY: the caller's promise, and the layout says that it is the system's.
            return unsafe { System.dealloc(block, layout) };
        };
        // SAFETY: the block is the caller's no more, and has room for an address.
        unsafe { block.cast::<*mut u8>().write(list.get()) };
        list.set(block);
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size fits the alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (self.list(layout), self.list(wanted)) {
            (Some(old), Some(new)) if ptr::eq(old, new) => block,
            // SAFETY: the caller's promise, and the layout says that it is the system's.
            (None, None) => unsafe { System.realloc(block, layout, size) },
            _ => self.moved(block, layout, wanted),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise; the system knows which of its memory is zero already.
        unsafe {
            if self.list(layout).is_none() {
                return System.alloc_zeroed(layout);
            }
            let block = self.alloc(layout);
            if !block.is_null() {
                block.write_bytes(0, layout.size());
            }
            block
        }
    }
}

impl Lists {
    const fn new() -> Self {
        Self {
            free: [const { Cell::new(ptr::null_mut()) }; LISTS],
            rest: Cell::new(ptr::null_mut()),
            rest_bytes: Cell::new(0),
        }
    }

    /// The list for blocks of this layout; none when they are large, or aligned to more than lists can promise.
    #[inline(always)]
    fn list(&self, layout: Layout) -> Option<&Cell<*mut u8>> {
        let list = self.free.get(layout.size().wrapping_sub(1) / STEP)?;
        (layout.align() <= STEP).then_some(list)
    }

    /// A new block, `size` being one of the lists'; null when there is no more memory.
    #[cold]
    fn carve(&self, size: usize) -> *mut u8 {
        if self.rest_bytes.get() < size {
            // SAFETY: neither is zero, and the alignment is a power of two.
            let chunk = unsafe { System.alloc(Layout::from_size_align_unchecked(CHUNK, STEP)) };
            if chunk.is_null() {
                return chunk;
            }
            self.keep_rest();
            self.rest.set(chunk);
            self.rest_bytes.set(CHUNK);
        }
        let block = self.rest.get();
        // SAFETY: at least `size` bytes are left of the chunk.
        self.rest.set(unsafe { block.add(size) });
        self.rest_bytes.set(self.rest_bytes.get() - size);
        block
    }

    /// What is left of a chunk is a block of a smaller size.
    fn keep_rest(&self) {
        let bytes = self.rest_bytes.get();
        if bytes > 0 {
            // SAFETY: it is nobody's, aligned, and its size is that of a list, being less than that of the largest.
            unsafe { self.dealloc(self.rest.get(), Layout::from_size_align_unchecked(bytes, STEP)) };
        }
    }

    /// The block at another place, where its new size belongs.
    fn moved(&self, block: *mut u8, layout: Layout, wanted: Layout) -> *mut u8 {
        // SAFETY: the old block is the caller's, both are as long as is copied, and they are not the same.
        unsafe {
            let new = self.alloc(wanted);
            if !new.is_null() {
                ptr::copy_nonoverlapping(block, new, layout.size().min(wanted.size()));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

/// Where the host puts the arguments of a call: it asks for room for each text and each list of them, half a dozen
/// times for a command. wit-bindgen's own goes through four functions.
///
/// # Safety
/// As for [`GlobalAlloc::realloc`]; `old_bytes` is 0 when there is no old block.
#[cfg(target_arch = "wasm32")]
#[unsafe(export_name = "cabi_realloc")]
unsafe extern "C" fn room_for_arguments(
    old: *mut u8,
    old_bytes: usize,
    align: usize,
    bytes: usize,
) -> *mut u8 {
    if bytes == 0 {
        return ptr::without_provenance_mut(align);
    }
    // SAFETY: the host passes what the canonical ABI says.
    let block = unsafe {
        if old_bytes == 0 {
            MEMORY.alloc(Layout::from_size_align_unchecked(bytes, align))
        } else {
            MEMORY.realloc(old, Layout::from_size_align_unchecked(old_bytes, align), bytes)
        }
    };
    if block.is_null() {
        core::arch::wasm32::unreachable();
    }
    block
}

#[cfg(test)]
mod tests;
