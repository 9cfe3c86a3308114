//! XML answers: read whole, without entities of their own, and of the root that the operation answers.

use crate::error::AwsError;
use roxmltree::{Document, ParsingOptions};

pub use roxmltree::Node;

/// Elements, attributes and texts of one answer.
const NODES: u32 = 1_000_000;
/// Of one element. The parser compares each with all others.
const ATTRIBUTES: usize = 5_000;
/// Of namespaces, in the whole answer. The parser gives every element that declares one a copy of its parent's list.
const DECLARATIONS: usize = 5_000;

/// Reads an answer whose root is `root`, alone or with `Result` or `Response` behind it: emulators differ. `read` gives nothing when something that the operation always answers is missing.
pub fn read<T>(action: &'static str, body: &[u8], root: &str, read: impl FnOnce(Node) -> Option<T>) -> Result<T, AwsError> {
    let text = std::str::from_utf8(body).map_err(|_| AwsError::broken(action, "the answer is not UTF-8"))?;
    if !is_cheap(text) {
        return Err(AwsError::broken(action, "the answer has more attributes than any answer of AWS"));
    }
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options)
        .map_err(|e| AwsError::broken(action, format!("the answer is not whole XML: {}", model::text::shown(&e.to_string(), 120))))?;
    let found = document.root_element();
    let bare = found.tag_name().name().trim_end_matches("Response").trim_end_matches("Result");
    if bare != root {
        let name = model::text::shown(found.tag_name().name(), 60);
        return Err(AwsError::broken(action, format!("the answer is {name:?} and not {root:?}")));
    }
    read(found).ok_or_else(|| AwsError::broken(action, format!("the answer {root:?} lacks what it must have")))
}

/// Whether the parser needs time and memory for it that grow with its length only.
fn is_cheap(text: &str) -> bool {
    let mut tags = text.split('<');
    text.matches("xmlns").count() <= DECLARATIONS && tags.all(|tag| tag.bytes().filter(|b| *b == b'=').count() <= ATTRIBUTES)
}

/// Reading by local names: services differ in namespaces.
pub trait Element<'a>: Sized {
    fn child(&self, name: &str) -> Option<Node<'a, 'a>>;
    /// The text of a child; an empty element is an empty text.
    fn text_at(&self, name: &str) -> Option<&'a str>;
    /// The text of a child, if there is any in it.
    fn filled_at(&self, name: &str) -> Option<String>;
    /// `Some(None)`: the child is absent. `None`: it is neither `true` nor `false`.
    fn flag_at(&self, name: &str) -> Option<Option<bool>>;
    /// The items of a list that must be there, even if it is empty.
    fn items(&self, list: &str, item: &str) -> Option<Vec<Node<'a, 'a>>>;
}

impl<'a> Element<'a> for Node<'a, 'a> {
    fn child(&self, name: &str) -> Option<Node<'a, 'a>> {
        self.children().find(|c| c.is_element() && c.tag_name().name() == name)
    }

    fn text_at(&self, name: &str) -> Option<&'a str> {
        self.child(name).map(|c| c.text().unwrap_or_default())
    }

    fn filled_at(&self, name: &str) -> Option<String> {
        self.text_at(name).filter(|text| !text.is_empty()).map(str::to_string)
    }

    fn flag_at(&self, name: &str) -> Option<Option<bool>> {
        match self.text_at(name).map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            None => Some(None),
            Some("true") => Some(Some(true)),
            Some("false") => Some(Some(false)),
            Some(_) => None,
        }
    }

    fn items(&self, list: &str, item: &str) -> Option<Vec<Node<'a, 'a>>> {
        Some(self.child(list)?.children().filter(|c| c.is_element() && c.tag_name().name() == item).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(body: &str) -> Result<Vec<String>, AwsError> {
        read("x:List", body.as_bytes(), "List", |root| {
            root.items("Buckets", "Bucket")?.iter().map(|b| b.text_at("Name").map(str::to_string)).collect()
        })
    }

    #[test]
    fn whole_answers_only() {
        let good = r#"<List xmlns="http://x/"><Buckets><Bucket><Name>a</Name></Bucket><Bucket><Name/></Bucket></Buckets></List>"#;
        assert_eq!(names(good).unwrap(), ["a", ""]);
        assert_eq!(names("<ListResult><Buckets/></ListResult>").unwrap(), Vec::<String>::new());
        for bad in [
            "",
            "{}",
            "<List/>",
            "<List><Buckets><Bucket/></Buckets></List>",
            &good[..good.len() - 3],
            "<Other><Buckets/></Other>",
            "<Error><Buckets/></Error>",
            "<!DOCTYPE l [<!ENTITY a 'b'>]><List><Buckets/></List>",
        ] {
            assert_eq!(names(bad).unwrap_err().kind, crate::ErrorKind::Broken, "{bad}");
        }
    }

    #[test]
    fn deep_answers_do_not_end_the_process() {
        let deep = format!("<List>{}", "<a>".repeat(300_000));
        assert!(names(&deep).is_err());
        let closed = format!("<List>{}{}</List>", "<a>".repeat(300_000), "</a>".repeat(300_000));
        assert!(names(&closed).is_err());
    }

    #[test]
    fn answers_that_cost_their_parser_the_square_of_their_length_are_not_parsed() {
        let attributes: String = (0..400_000).map(|n| format!(" a{n} = '>'")).collect();
        assert!(names(&format!("<List{attributes}><Buckets/></List>")).is_err());
        // 60,000 declarations for each of 300,000 elements.
        let declared: String = (0..60_000).map(|n| format!(" xmlns:n{n}='u{n}'")).collect();
        let spread: String =
            (0..30).map(|n| format!("<a{}>", &declared[n * (declared.len() / 60)..(n + 1) * (declared.len() / 60)])).collect();
        let elements = "<b xmlns:x='y'/>".repeat(300_000);
        assert!(names(&format!("<List{declared}>{elements}</List>")).is_err());
        assert!(names(&format!("<List>{spread}{elements}</List>")).is_err());
        // A grant declares one, and a policy in a text may have signs of its own.
        let grants = "<a xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'/>".repeat(200);
        assert_eq!(names(&format!("<List>{grants}<Buckets/></List>")).unwrap(), Vec::<String>::new());
        assert!(is_cheap(&format!("<P>{}</P>", "\"k=v\",".repeat(2_000))));
    }

    #[test]
    fn flags() {
        let flag = |text: &str| read("x:Get", format!("<R><F>{text}</F></R>").as_bytes(), "R", |r| r.flag_at("F"));
        assert_eq!((flag("true").unwrap(), flag("FALSE").unwrap()), (Some(true), Some(false)));
        assert!(flag("maybe").is_err() && flag("").is_err());
        assert_eq!(read("x:Get", b"<R/>", "R", |r| r.flag_at("F")).unwrap(), None);
    }
}
