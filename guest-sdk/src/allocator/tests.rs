use super::*;

/// A block that somebody has, filled with a byte of its own.
struct Block {
    at: *mut u8,
    layout: Layout,
    mark: u8,
}

impl Block {
    fn new(lists: &Lists, bytes: usize, align: usize, mark: u8) -> Self {
        let layout = Layout::from_size_align(bytes, align).unwrap();
        // SAFETY: the size is not zero.
        let at = unsafe { lists.alloc(layout) };
        let block = Self { at, layout, mark };
        block.fill();
        block
    }

    fn fill(&self) {
        assert!(!self.at.is_null() && self.at.addr() % self.layout.align() == 0);
        // SAFETY: the block is as long as its layout says.
        unsafe { self.at.write_bytes(self.mark, self.layout.size()) };
    }

    fn check(&self, bytes: usize) {
        // SAFETY: the block is as long as its layout says, and was filled.
        let filled = unsafe { std::slice::from_raw_parts(self.at, bytes) };
        assert!(filled.iter().all(|byte| *byte == self.mark));
    }

    fn resize(&mut self, lists: &Lists, bytes: usize) {
        let kept = bytes.min(self.layout.size());
        // SAFETY: the block is of these lists, and the size is not zero.
        self.at = unsafe { lists.realloc(self.at, self.layout, bytes) };
        self.layout = Layout::from_size_align(bytes, self.layout.align()).unwrap();
        self.check(kept);
        self.fill();
    }

    fn free(self, lists: &Lists) {
        self.check(self.layout.size());
        // SAFETY: the block is of these lists, and nobody uses it any more.
        unsafe { lists.dealloc(self.at, self.layout) };
    }
}

/// Numbers that are the same at every run.
fn draws() -> impl FnMut(usize) -> usize {
    let context = crate::Context::builder("allocator").build();
    move |bound| usize::try_from(context.random_below(bound as u64)).unwrap()
}

#[test]
fn blocks_never_overlap_and_keep_what_is_in_them() {
    let (lists, mut draw) = (Lists::new(), draws());
    let mut blocks: Vec<Block> = Vec::new();
    for step in 0..20_000_usize {
        let mark = u8::try_from(step % 251).unwrap();
        match draw(3) {
            0 if !blocks.is_empty() => blocks.swap_remove(draw(blocks.len())).free(&lists),
            1 if !blocks.is_empty() => {
                let index = draw(blocks.len());
                blocks[index].resize(&lists, 1 + draw(SMALL_MAX + 100));
            }
            _ => blocks.push(Block::new(&lists, 1 + draw(SMALL_MAX + 100), 1 << draw(6), mark)),
        }
    }
    for block in blocks {
        block.free(&lists);
    }
}

#[test]
fn a_freed_block_is_the_next_one_of_its_size() {
    let lists = Lists::new();
    let first = Block::new(&lists, 33, 1, 1);
    let at = first.at;
    first.free(&lists);
    let (larger, same) = (Block::new(&lists, 49, 1, 2), Block::new(&lists, 48, 8, 3));
    assert!(larger.at != at && same.at == at);
}

#[test]
fn the_same_work_over_and_over_takes_no_more_memory() {
    let lists = Lists::new();
    let work = || {
        let blocks: Vec<_> = (1..=SMALL_MAX)
            .map(|bytes| Block::new(&lists, bytes, 1, 7))
            .collect();
        blocks.into_iter().for_each(|block| block.free(&lists));
    };
    work();
    let (rest, rest_bytes) = (lists.rest.get(), lists.rest_bytes.get());
    (0..100).for_each(|_| work());
    assert_eq!((lists.rest.get(), lists.rest_bytes.get()), (rest, rest_bytes));
}

#[test]
fn zeroed_blocks_are_zero_also_when_they_were_used() {
    let lists = Lists::new();
    Block::new(&lists, 64, 8, 9).free(&lists);
    let layout = Layout::from_size_align(64, 8).unwrap();
    // SAFETY: the size is not zero.
    let at = unsafe { lists.alloc_zeroed(layout) };
    let block = Block { at, layout, mark: 0 };
    block.check(64);
    block.free(&lists);
}
