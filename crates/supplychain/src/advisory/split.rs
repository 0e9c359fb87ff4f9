//! Cuts a stream of bytes into the JSON objects at its top: one, several in lines or one after the other, or those
//! of an array. One record at a time is in memory, and none beyond the limit.

use super::osv::RECORD_BYTES;

/// Cuts as bytes come.
#[derive(Debug, Default)]
pub struct Splitter {
    record: Vec<u8>,
    depth: u32,
    in_text: bool,
    escaped: bool,
    /// The record is too large: its rest is passed over, up to its end.
    skipping: bool,
}

/// What was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A record's bytes; whether they are JSON is for its reader to say.
    Record(Vec<u8>),
    /// A record that is larger than any may be.
    TooLarge,
}

/// The stream is no JSON at its top, so that nothing after it can be told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray(pub char);

impl Splitter {
    /// Takes bytes, gives the records that end in them.
    ///
    /// # Errors
    /// Something stands between records that belongs to none.
    pub fn take(&mut self, bytes: &[u8], mut give: impl FnMut(Cut)) -> Result<(), Stray> {
        for byte in bytes.iter().copied() {
            if self.depth == 0 {
                match byte {
                    b'{' => {}
                    b' ' | b'\t' | b'\r' | b'\n' | b',' | b'[' | b']' | 0xEF | 0xBB | 0xBF | 0x1E => continue,
                    other => return Err(Stray(char::from(other))),
                }
            }
            if !self.skipping {
                self.record.push(byte);
                if self.record.len() > RECORD_BYTES {
                    self.skipping = true;
                    self.record = Vec::new();
                }
            }
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_text = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        let record = std::mem::take(&mut self.record);
                        let skipped = std::mem::take(&mut self.skipping);
                        give(if skipped {
                            Cut::TooLarge
                        } else {
                            Cut::Record(record)
                        });
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the stream may end here: in no record.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        self.depth == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(bytes: &[u8], at_once: usize) -> (Vec<Cut>, Result<bool, Stray>) {
        let (mut splitter, mut all) = (Splitter::default(), Vec::new());
        for chunk in bytes.chunks(at_once.max(1)) {
            if let Err(stray) = splitter.take(chunk, |cut| all.push(cut)) {
                return (all, Err(stray));
            }
        }
        (all, Ok(splitter.is_between()))
    }

    #[test]
    fn one_many_lines_and_arrays() {
        let record = |text: &str| Cut::Record(text.as_bytes().to_vec());
        for text in [
            "{\"a\":\"}\\\"{\"}{\"b\":[{}]}",
            "[{\"a\":\"}\\\"{\"},\n{\"b\":[{}]}]",
            "\u{feff}{\"a\":\"}\\\"{\"}\r\n{\"b\":[{}]}\n",
        ] {
            for at_once in [1, 3, 100] {
                let (all, end) = cut(text.as_bytes(), at_once);
                assert_eq!(
                    all,
                    [record("{\"a\":\"}\\\"{\"}"), record("{\"b\":[{}]}")],
                    "{text}"
                );
                assert_eq!(end, Ok(true));
            }
        }
        assert_eq!(cut(b"{\"a\":1", 2), (vec![], Ok(false)), "cut short");
        assert_eq!(cut(b"PK\x03\x04", 2), (vec![], Err(Stray('P'))));
    }

    #[test]
    fn a_record_beyond_all_measure_is_passed_over_and_the_next_is_read() {
        let mut bytes = b"{\"a\":\"".to_vec();
        bytes.resize(RECORD_BYTES + 100, b'x');
        bytes.extend_from_slice(b"\"}{}");
        let (all, end) = cut(&bytes, 65_536);
        assert_eq!(
            (all, end),
            (vec![Cut::TooLarge, Cut::Record(b"{}".to_vec())], Ok(true))
        );
    }

    proptest! {
        #[test]
        fn chunks_change_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..300), at_once in 1_usize..40) {
            prop_assert_eq!(cut(&bytes, at_once), cut(&bytes, 1000));
        }
    }
}
