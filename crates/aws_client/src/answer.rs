//! What a service says is wrong, in the forms of its protocols.

use crate::error::ErrorBody;
use roxmltree::Document;

/// REST and query protocols answer XML with one element `Error`, JSON protocols an object. Empty when it is neither.
pub fn error_body(body: &[u8]) -> ErrorBody {
    let Ok(text) = std::str::from_utf8(body) else { return ErrorBody::default() };
    let found = if text.trim_start().starts_with('{') { serde_json::from_str(text).unwrap_or_default() } else { of_xml(text) };
    // `com.amazonaws.x#AccessDeniedException:http://…`
    let code = found.code.rsplit('#').next().unwrap_or_default().split(':').next().unwrap_or_default();
    ErrorBody { code: model::text::shown(code, 80), message: model::text::shown(&found.message, 300) }
}

fn of_xml(text: &str) -> ErrorBody {
    // An error is short; what is not may be anything.
    let Some(document) = (text.len() < 64 << 10).then(|| Document::parse(text).ok()).flatten() else { return ErrorBody::default() };
    let Some(error) = document.descendants().find(|n| n.tag_name().name() == "Error") else { return ErrorBody::default() };
    let text = |name: &str| {
        let found = error.children().find(|c| c.tag_name().name() == name);
        found.and_then(|c| c.text()).unwrap_or_default().to_string()
    };
    ErrorBody { code: text("Code"), message: text("Message") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_protocols() {
        for (body, code, message) in [
            ("<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>m</Message></Error>", "NoSuchBucket", "m"),
            (
                "<ErrorResponse xmlns=\"x\"><Error><Type>Sender</Type><Code>DBSnapshotNotFound</Code><Message>m</Message></Error></ErrorResponse>",
                "DBSnapshotNotFound",
                "m",
            ),
            (
                "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>m</Message></Error></Errors></Response>",
                "UnauthorizedOperation",
                "m",
            ),
            ("{\"__type\":\"com.amazonaws.x#AccessDeniedException\",\"Message\":\"m\"}", "AccessDeniedException", "m"),
            ("<html>502</html>", "", ""),
            ("<Error><Code>Cut", "", ""),
            ("", "", ""),
        ] {
            let found = error_body(body.as_bytes());
            assert_eq!((found.code.as_str(), found.message.as_str()), (code, message), "{body}");
        }
    }
}
