//! A stream of bytes, cut into lines of bounded length. Pure: it is given frames as they come and gives lines.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// One line that is not blank, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// As it came.
    Whole(Bytes),
    /// Longer than the limit: so many bytes, none of which are kept.
    TooLong(u64),
}

/// Cuts frames into lines. A line within one frame is not copied.
#[derive(Debug)]
pub(super) struct Lines {
    longest: usize,
    frames: VecDeque<Bytes>,
    /// The beginning of a line whose end has not come yet.
    begun: BytesMut,
    /// Bytes of a line that has become too long, so far.
    too_long: u64,
    number: u64,
}

impl Lines {
    pub(super) fn new(longest: usize) -> Self {
        Self {
            longest,
            frames: VecDeque::new(),
            begun: BytesMut::new(),
            too_long: 0,
            number: 0,
        }
    }

    /// Adds what came.
    pub(super) fn push(&mut self, frame: Bytes) {
        if !frame.is_empty() {
            self.frames.push_back(frame);
        }
    }

    /// The next whole line with its number, from 1; blank lines are counted and passed over. None: more must come first.
    pub(super) fn next(&mut self) -> Option<(u64, Line)> {
        while let Some(frame) = self.frames.front_mut() {
            let end = memchr::memchr(b'\n', frame);
            let part = frame.split_to(end.unwrap_or(frame.len()));
            if end.is_some() {
                frame.advance(1);
            }
            if frame.is_empty() {
                self.frames.pop_front();
            }
            if end.is_none() {
                self.begin(&part);
                continue;
            }
            if let Some(line) = self.finish(part) {
                return Some(line);
            }
        }
        None
    }

    /// What stands after the last line end, once no more comes: it counts as a line.
    pub(super) fn last(&mut self) -> Option<(u64, Line)> {
        let is_begun = self.too_long > 0 || !self.begun.is_empty();
        is_begun.then(|| self.finish(Bytes::new()))?
    }

    fn begin(&mut self, part: &[u8]) {
        let length = self.begun.len() + part.len();
        if self.too_long > 0 || length > self.longest {
            self.too_long += length as u64;
            self.begun = BytesMut::new();
        } else {
            self.begun.extend_from_slice(part);
        }
    }

    fn finish(&mut self, part: Bytes) -> Option<(u64, Line)> {
        let whole = if self.begun.is_empty() && self.too_long == 0 && part.len() <= self.longest {
            part
        } else {
            self.begin(&part);
            std::mem::take(&mut self.begun).freeze()
        };
        self.number += 1;
        let too_long = std::mem::take(&mut self.too_long);
        if too_long > 0 {
            return Some((self.number, Line::TooLong(too_long)));
        }
        (!whole.trim_ascii().is_empty()).then_some((self.number, Line::Whole(whole)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(input: &[u8], sizes: &[usize], longest: usize) -> Vec<(u64, Line)> {
        let (mut lines, mut found) = (Lines::new(longest), Vec::new());
        let (mut rest, mut sizes) = (input, sizes.iter().copied().cycle());
        while !rest.is_empty() {
            let (frame, more) = rest.split_at(sizes.next().unwrap_or(1).clamp(1, rest.len()));
            lines.push(Bytes::copy_from_slice(frame));
            found.extend(std::iter::from_fn(|| lines.next()));
            assert!(lines.begun.len() <= longest, "no more than a line is kept");
            rest = more;
        }
        found.extend(lines.last());
        assert_eq!(lines.last(), None);
        found
    }

    #[test]
    fn lines_are_numbered_and_blank_ones_passed_over() {
        let whole = |text: &'static str| Line::Whole(Bytes::from_static(text.as_bytes()));
        for sizes in [&[1][..], &[2], &[100], &[3, 1]] {
            assert_eq!(
                cut(b"one\n\n \r\ntwo\r\n12345678\n123456789\nend", sizes, 8),
                [
                    (1, whole("one")),
                    (4, whole("two\r")),
                    (5, whole("12345678")),
                    (6, Line::TooLong(9)),
                    (7, whole("end")),
                ],
                "{sizes:?}"
            );
        }
        assert_eq!(cut(b"\n\n", &[1], 8), []);
        assert_eq!(cut(b"123456789", &[4], 8), [(1, Line::TooLong(9))]);
    }

    #[test]
    fn a_line_within_a_frame_is_not_copied() {
        let frame = Bytes::from_static(b"one\ntwo\n");
        let mut lines = Lines::new(8);
        lines.push(frame.clone());
        for at in [0, 4] {
            match lines.next() {
                Some((_, Line::Whole(line))) => assert_eq!(line.as_ptr(), frame[at..].as_ptr()),
                other => panic!("{other:?}"),
            }
        }
    }

    proptest! {
        /// However the bytes are cut into frames, the lines are those of the whole.
        #[test]
        fn frames_make_no_difference(
            input in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), Just(b'a'), any::<u8>()], 0..300),
            sizes in prop::collection::vec(1_usize..40, 1..10),
            longest in 1_usize..20,
        ) {
            let expected: Vec<(u64, Line)> = input
                .split(|byte| *byte == b'\n')
                .enumerate()
                .filter_map(|(at, line)| {
                    let number = at as u64 + 1;
                    if line.len() > longest {
                        return Some((number, Line::TooLong(line.len() as u64)));
                    }
                    let whole = Line::Whole(Bytes::copy_from_slice(line));
                    (!line.trim_ascii().is_empty()).then_some((number, whole))
                })
                .collect();
            prop_assert_eq!(cut(&input, &sizes, longest), expected);
        }
    }
}
