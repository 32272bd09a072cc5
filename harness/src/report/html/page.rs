//! Writing HTML in which a pod's text can't become markup.

use std::fmt::Write as _;

/// A page that is being written.
///
/// Markup is `&'static str`, so it can only come from this program; everything else has to go
/// through [`text`](Self::text) or [`prose`](Self::prose), which escape it.
#[derive(Default)]
pub(super) struct Page {
    html: String,
}

impl Page {
    /// Adds markup.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.html.push_str(markup);
        self
    }

    /// Adds text, for an element's content or an attribute in double quotes.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for character in text.chars() {
            match character {
                '&' => self.html.push_str("&amp;"),
                '<' => self.html.push_str("&lt;"),
                '>' => self.html.push_str("&gt;"),
                '"' => self.html.push_str("&quot;"),
                '\'' => self.html.push_str("&#39;"),
                other => self.html.push(other),
            }
        }
        self
    }

    /// Adds a message, in which backticks surround code.
    pub(super) fn prose(&mut self, text: &str) -> &mut Self {
        let parts: Vec<&str> = text.split('`').collect();
        // A backtick without its partner is no mark-up but a backtick.
        if parts.len().is_multiple_of(2) {
            return self.text(text);
        }
        for (index, part) in parts.into_iter().enumerate() {
            if index % 2 == 0 {
                self.text(part);
            } else {
                self.raw("<code>").text(part).raw("</code>");
            }
        }
        self
    }

    /// Adds a number.
    pub(super) fn number(&mut self, number: usize) -> &mut Self {
        let _ = write!(self.html, "{number}");
        self
    }

    /// The page's text.
    pub(super) fn finish(self) -> String {
        self.html
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_never_becomes_markup() {
        let mut page = Page::default();
        page.raw("<p title=\"").text("\"><script>").raw("\">").prose("a `<b>` & 'c'").raw("</p>");
        assert_eq!(
            page.finish(),
            "<p title=\"&quot;&gt;&lt;script&gt;\">a <code>&lt;b&gt;</code> &amp; &#39;c&#39;</p>"
        );
    }

    #[test]
    fn a_lone_backtick_is_itself() {
        let mut page = Page::default();
        page.prose("a ` b");
        assert_eq!(page.finish(), "a ` b");
    }
}
