use scraper::{Html, Selector};

/// A page, asserted by CSS selector.
pub struct Page {
    path: String,
    /// HTTP status.
    pub status: u16,
    source: String,
}

impl Page {
    pub(crate) fn new(path: &str, status: u16, source: &str) -> Self {
        Self {
            path: path.to_owned(),
            status,
            source: source.to_owned(),
        }
    }

    /// The texts of all elements that match.
    #[must_use]
    pub fn texts(&self, selector: &str) -> Vec<String> {
        let parsed = Selector::parse(selector).unwrap_or_else(|e| panic!("selector {selector}: {e}"));
        Html::parse_document(&self.source)
            .select(&parsed)
            .map(|element| {
                element
                    .text()
                    .collect::<String>()
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect()
    }

    /// An attribute of all elements that match and have it.
    #[must_use]
    pub fn attributes(&self, selector: &str, attribute: &str) -> Vec<String> {
        let parsed = Selector::parse(selector).unwrap_or_else(|e| panic!("selector {selector}: {e}"));
        Html::parse_document(&self.source)
            .select(&parsed)
            .filter_map(|element| element.value().attr(attribute).map(str::to_owned))
            .collect()
    }

    /// Asserts that some element that matches contains a text.
    ///
    /// # Panics
    /// If none does.
    pub fn shows(&self, selector: &str, text: &str) {
        let texts = self.texts(selector);
        assert!(
            texts.iter().any(|t| t.contains(text)),
            "{} ({}): no `{selector}` shows {text:?}; they show {texts:?}",
            self.path,
            self.status
        );
    }

    /// The HTML.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}
