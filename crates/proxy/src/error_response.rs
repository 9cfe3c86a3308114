//! Errors that the balancer answers itself. Clients recognise them by the header `x-afresh-error`.

use crate::downstream::Downstream;
use crate::headers::ERROR_MARK;
use crate::response_body::ResponseBody;
use http::{HeaderValue, Response, StatusCode, header};
use std::sync::Arc;

pub struct ErrorResponse {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
}

impl ErrorResponse {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub fn into_response(self, downstream: &Arc<Downstream>) -> Response<ResponseBody> {
        let text = serde_json::json!({ "error": { "code": self.code, "message": self.message } }).to_string();
        let mut response = Response::new(ResponseBody::own(text, downstream));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ERROR_MARK, HeaderValue::from_static("1"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
