//! A reader of XML as strict as the reports need: it knows elements, attributes and text.

/// An element.
#[derive(Debug, Default)]
pub struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    pub text: String,
}

impl Element {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The direct children of that name.
    pub fn each<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The element and everything below it.
    pub fn walk(&self) -> Vec<&Element> {
        let below = self.children.iter().flat_map(Element::walk);
        std::iter::once(self).chain(below).collect()
    }
}

/// Reads a document.
///
/// Panics where a parser would refuse: a character that XML forbids, a tag that does not match, a
/// stray `<` or `]]>`.
pub fn parse(document: &str) -> Element {
    assert!(document.starts_with("<?xml "), "the prolog is missing");
    let forbidden = |c: char| matches!(c, '\0'..'\t' | '\u{b}' | '\u{c}' | '\u{e}'..' ' | '\u{fffe}' | '\u{ffff}');
    assert!(!document.contains(forbidden), "a character that XML forbids");
    assert!(!document.contains("]]>"), "the end of a CDATA section without its start");
    let body = document.split_once("?>").expect("the prolog ends").1;
    let mut open = vec![Element::default()];
    for piece in body.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').expect("a tag ends");
        if let Some(name) = tag.strip_prefix('/') {
            let element = open.pop().expect("an element is open");
            assert_eq!(element.name, name, "tags nest");
            open.last_mut().expect("the document").children.push(element);
        } else {
            let element = start(tag.trim_end_matches('/'));
            if tag.ends_with('/') {
                open.last_mut().expect("the document").children.push(element);
            } else {
                open.push(element);
            }
        }
        open.last_mut().expect("the document").text.push_str(&unescape(text));
    }
    assert_eq!(open.len(), 1, "every element ends");
    let mut document = open.remove(0);
    assert_eq!(document.children.len(), 1, "one root");
    document.children.remove(0)
}

fn start(tag: &str) -> Element {
    let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
    let mut attributes: Vec<(String, String)> = Vec::new();
    while let Some((key, after)) = rest.trim_start().split_once("=\"") {
        let (value, after) = after.split_once('"').expect("an attribute ends");
        assert!(attributes.iter().all(|(other, _)| other != key), "`{key}` twice");
        attributes.push((key.to_owned(), unescape(value)));
        rest = after;
    }
    Element { name: name.to_owned(), attributes, ..Element::default() }
}

fn unescape(text: &str) -> String {
    let mut pieces = text.split('&');
    let mut result = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (entity, rest) = piece.split_once(';').expect("an entity ends");
        result.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            other => {
                let code = other.strip_prefix("#x").map(|hex| u32::from_str_radix(hex, 16));
                let code = code.unwrap_or_else(|| other.trim_start_matches('#').parse());
                char::from_u32(code.expect("a number")).expect("a character")
            }
        });
        result.push_str(rest);
    }
    result
}
