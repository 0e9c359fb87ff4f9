//! What the readers of XML share.

use super::DEPTH;
use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};
use std::borrow::Cow;

/// A document, read event by event.
pub(super) struct Xml<'a> {
    text: &'a str,
    reader: Reader<&'a [u8]>,
    depth: usize,
}

impl<'a> Xml<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mut reader = Reader::from_str(text);
        reader.config_mut().allow_dangling_amp = true;
        reader.config_mut().expand_empty_elements = true;
        Self {
            text,
            reader,
            depth: 0,
        }
    }

    /// The next event; depth and form are checked.
    pub(super) fn next(&mut self) -> Result<Event<'a>, String> {
        let event = self.reader.read_event().map_err(|error| {
            let at = usize::try_from(self.reader.error_position()).unwrap_or(usize::MAX);
            let before = self.text.as_bytes().get(..at).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            format!("it is no well-formed XML: line {line}: {error}")
        })?;
        match &event {
            Event::Start(_) => {
                self.depth += 1;
                if self.depth > DEPTH {
                    return Err(format!("its elements are nested more than {DEPTH} deep"));
                }
            }
            Event::End(_) => self.depth = self.depth.saturating_sub(1),
            Event::Eof if self.depth > 0 => return Err("it ends before its elements do".to_owned()),
            _ => {}
        }
        Ok(event)
    }

    /// How many elements are open.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }
}

/// An attribute's value. Entities that are not XML's own stay as they are written.
pub(super) fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    // An element with thousands of attributes is no report.
    element
        .attributes()
        .with_checks(false)
        .take(64)
        .filter_map(Result::ok)
        .find(|attribute| attribute.key.local_name().as_ref() == name)
        .map(|attribute| match quick_xml::escape::unescape(&attribute.value) {
            Ok(value) => value.into_owned(),
            Err(_) => attribute.value.into_owned(),
        })
}

/// What a reference in a text stands for: a character, or itself.
pub(super) fn reference(name: &str) -> String {
    let whole = format!("&{name};");
    quick_xml::escape::unescape(&whole)
        .map(Cow::into_owned)
        .unwrap_or(whole)
}

/// Adds text to what is kept of it.
pub(super) fn gather(kept: &mut String, text: &str, most: usize) {
    let room = most.saturating_sub(kept.len());
    let mut end = room.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    kept.push_str(text.get(..end).unwrap_or_default());
}
