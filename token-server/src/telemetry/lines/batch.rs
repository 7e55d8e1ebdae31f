//! The lines of one batch, and the number of bytes already written.

/// The bytes of one system call. A reader that takes them within the stall limit counts as alive.
const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// Whole lines, written from the front.
#[derive(Debug, Default)]
pub(super) struct Batch {
    text: Vec<u8>,
    written: usize,
}

impl Batch {
    /// Returns the empty buffer, to be filled again.
    pub(super) fn refill(&mut self) -> &mut Vec<u8> {
        self.text.clear();
        self.written = 0;
        &mut self.text
    }

    /// Returns true if everything has been written.
    pub(super) fn is_done(&self) -> bool {
        self.written >= self.text.len()
    }

    /// Returns the next bytes to write: as many whole lines as one system call should take, but at least one.
    pub(super) fn chunk(&self) -> &[u8] {
        let rest = self.rest();
        let Some(first) = rest.get(..CHUNK_BYTES_MAX) else { return rest };
        let within = first.iter().rposition(|byte| *byte == b'\n');
        let end = within.or_else(|| rest.iter().position(|byte| *byte == b'\n'));
        end.and_then(|end| rest.get(..=end)).unwrap_or(rest)
    }

    /// Counts `bytes` as written.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(bytes).min(self.text.len());
    }

    /// Goes back to the start of a line that was written in part. Its rest alone would be meaningless in
    /// another file.
    pub(super) fn back_to_line_start(&mut self) {
        let written = self.text.get(..self.written).unwrap_or_default();
        self.written = written.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    }

    /// Returns the number of lines that are not completely written.
    pub(super) fn lines_left(&self) -> u64 {
        count(self.rest())
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.written..).unwrap_or_default()
    }
}

/// Returns the number of lines that end in `text`.
pub(super) fn count(text: &[u8]) -> u64 {
    text.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(text: &str) -> Batch {
        let mut batch = Batch::default();
        batch.refill().extend_from_slice(text.as_bytes());
        batch
    }

    #[test]
    fn a_chunk_ends_with_a_line() {
        let line = format!("{}\n", "x".repeat(999));
        let many = batch(&line.repeat(100));
        assert_eq!(many.chunk().len(), 65_000);
        let long = format!("{}\nshort\n", "x".repeat(2 * CHUNK_BYTES_MAX));
        assert_eq!(batch(&long).chunk().len(), 2 * CHUNK_BYTES_MAX + 1);
        assert_eq!(batch("a\nb\n").chunk(), b"a\nb\n");
    }

    #[test]
    fn a_line_written_in_part_is_written_again_from_its_start() {
        let mut batch = batch("one\ntwo\n");
        batch.advance(6);
        assert_eq!((batch.chunk(), batch.lines_left()), (&b"o\n"[..], 1));
        batch.back_to_line_start();
        assert_eq!(batch.chunk(), b"two\n");
        batch.back_to_line_start();
        assert_eq!(batch.chunk(), b"two\n");
        batch.advance(4);
        assert!(batch.is_done());
    }
}
