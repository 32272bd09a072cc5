//! Text of messages and facts as HTML.

use maud::{Markup, PreEscaped, Render, html};

/// A word that is longer may be broken between its parts.
const LONG_WORD: usize = 20;

/// A message, in which backticks surround code.
pub(in crate::report) struct Prose<'a>(pub(in crate::report) &'a str);

impl Render for Prose<'_> {
    fn render(&self) -> Markup {
        let parts: Vec<&str> = self.0.split('`').collect();
        // A backtick without its partner is just a backtick.
        if parts.len().is_multiple_of(2) {
            return breakable(self.0);
        }
        html! {
            @for (index, part) in parts.into_iter().enumerate() {
                @if index % 2 == 0 { (breakable(part)) } @else { code { (breakable(part)) } }
            }
        }
    }
}

/// The text, in which a browser may break long words: only where a part begins, as in `UserNamespaces|Support` and
/// `registry/|image`.
fn breakable(text: &str) -> Markup {
    html! {
        @for word in text.split_inclusive(char::is_whitespace) {
            @if word.len() <= LONG_WORD {
                (word)
            } @else {
                @for (index, part) in parts(word).into_iter().enumerate() {
                    @if index > 0 { wbr; }
                    (part)
                }
            }
        }
    }
}

fn parts(word: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut before = ' ';
    for (position, character) in word.char_indices() {
        let is_capital = before.is_lowercase() && character.is_uppercase();
        if is_capital || before == '/' && character.is_alphanumeric() {
            parts.push(&word[start..position]);
            start = position;
        }
        before = character;
    }
    parts.push(&word[start..]);
    parts
}

/// A message as a headline: its first word begins with a capital letter, unless it is code.
pub(super) fn headline(text: &str) -> Markup {
    let mut characters = text.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    let text: String = first.chain(characters).collect();
    Prose(&text).render()
}

/// Text that only this program wrote, as markup.
pub(in crate::report) fn trusted(markup: &'static str) -> PreEscaped<&'static str> {
    PreEscaped(markup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_never_becomes_markup() {
        let text = "\"><script>";
        let page = html! { p title=(text) { (Prose("a `<b>` & <c>")) } };
        assert_eq!(
            page.into_string(),
            "<p title=\"&quot;&gt;&lt;script&gt;\">a <code>&lt;b&gt;</code> &amp; &lt;c&gt;</p>"
        );
    }

    #[test]
    fn a_lone_backtick_is_itself() {
        assert_eq!(Prose("a ` b").render().into_string(), "a ` b");
    }

    #[test]
    fn long_words_break_between_their_parts_only() {
        let page = Prose("UserNamespacesPodSecurityStandards: on, ProcMountType").render();
        let expected = "User<wbr>Namespaces<wbr>Pod<wbr>Security<wbr>Standards: on, ProcMountType";
        assert_eq!(page.into_string(), expected);
        let page = Prose("https://registry.example/devfile/image").render();
        let expected = "https://<wbr>registry.example/<wbr>devfile/<wbr>image";
        assert_eq!(page.into_string(), expected);
    }

    #[test]
    fn a_headline_begins_with_a_capital_letter() {
        assert_eq!(headline("the gate `x` is off").into_string(), "The gate <code>x</code> is off");
        assert_eq!(headline("`x` is off").into_string(), "<code>x</code> is off");
        assert_eq!(headline("").into_string(), "");
    }
}
